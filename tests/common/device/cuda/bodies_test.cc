// What the CUDA kernels' threads do, run on the host one thread after another, against the CPU
// device: indices, tails and mathematics of kernels that need no GPU to be checked.
#include "common/device/cuda/bodies.h"

#include <catch2/catch.hpp>
#include <functional>
#include <string>

#include "common/device/cuda/pooling_bodies.h"
#include "tests/common/device/values.h"

namespace mariana {
namespace {

using namespace cuda;
using namespace device_cases;

// A guard behind every array: nobody may write there.
constexpr int64_t kGuard = 16;
constexpr float kUntouched = -77;

template <class T>
struct Array {
  std::vector<T> v;
  explicit Array(int64_t n, float value = kUntouched)
      : v(static_cast<size_t>(n + kGuard), FromFloat<T>(value)) {}
  explicit Array(const Floats& from) : Array(static_cast<int64_t>(from.size())) {
    for (size_t i = 0; i < from.size(); ++i) v[i] = FromFloat<T>(from[i]);
  }
  T* data() { return v.data(); }
  Floats Read() const {
    for (size_t i = v.size() - kGuard; i < v.size(); ++i) REQUIRE(ToFloat(v[i]) == kUntouched);
    Floats out;
    for (size_t i = 0; i + kGuard < v.size(); ++i) out.push_back(ToFloat(v[i]));
    return out;
  }
};

template <class T>
constexpr Dtype kDtype = sizeof(T) == 2 ? Dtype::kBF16 : Dtype::kF32;

// Threads of EachPack, EachIndex and EachCell, beyond the end as well.
template <int W, class F>
void Packs(int64_t n, const F& body) {
  for (int64_t i = 0; i < n; i += W) body(i, n);
}
template <class F>
void Indices(int64_t n, const F& body) {
  for (int64_t i = 0; i < n; ++i) body(i);
}
template <class F>
void Cells(int64_t rows, int64_t columns, const F& body) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) body(r, c);
  }
}

// What the CPU device makes of an operation of n outputs.
class Cpu {
 public:
  template <class T>
  Tensor In(Array<T>* a) {
    Tensor t(device_.get(), kDtype<T>, {static_cast<int64_t>(a->v.size())});
    t.Upload(a->data());
    return t;
  }
  template <class T>
  Tensor Out(int64_t n) {
    return Tensor(device_.get(), kDtype<T>, {n});
  }
  Device* operator->() { return device_.get(); }

 private:
  std::unique_ptr<Device> device_ = MakeCpuDevice(0, 1, -1);
};

void Near(const Floats& a, const Floats& b, double tolerance) {
  RequireNear(a, Doubles(b.begin(), b.end()), tolerance);
}

template <class T, int W>
void CheckMaps(int64_t n) {
  CAPTURE(n, W, sizeof(T));
  Cpu cpu;
  Array<T> a(Random(n, 8, 1)), b(Random(n, 8, 2)), c(Random(n, 8, 3)), y(n);
  const Tensor ta = cpu.In(&a), tb = cpu.In(&b), tc = cpu.In(&c), ty = cpu.Out<T>(n);
  const auto same = [&] { Near(y.Read(), ToHost(ty), Epsilon(kDtype<T>)); };
  Packs<W>(n,
           [&](int64_t i, int64_t) { MapElements<W>(i, n, Sum(), y.data(), a.data(), b.data()); });
  cpu->Add(ta.data(), tb.data(), ty.data(), n, kDtype<T>);
  same();
  Packs<W>(n, [&](int64_t i, int64_t) {
    MapElements<W>(i, n, SlopeOf<Activation::kTanh>(), y.data(), a.data(), b.data());
  });
  cpu->ActivateBackward(Activation::kTanh, ta.data(), tb.data(), ty.data(), n, kDtype<T>);
  same();
  Packs<W>(n, [&](int64_t i, int64_t) {
    MapElements<W>(i, n, MultiplyAddOf(), y.data(), a.data(), b.data(), c.data());
  });
  cpu->MultiplyAdd(ta.data(), tb.data(), tc.data(), ty.data(), n, kDtype<T>);
  same();
  Packs<W>(n, [&](int64_t i, int64_t) { MapElements<W>(i, n, Constant{2.5f}, y.data()); });
  Near(y.Read(), Floats(static_cast<size_t>(n), 2.5f), 0);
}

TEST_CASE("bodies over elements equal the CPU device, tails included") {
  for (const int64_t n : {1, 3, 4, 7, 8, 9, 257}) {
    CheckMaps<float, 4>(n);
    CheckMaps<float, 1>(n);
    CheckMaps<uint16_t, 8>(n);
    CheckMaps<uint16_t, 1>(n);
  }
}

template <class T>
void CheckDropoutBits(int64_t rows, int64_t cols, int64_t first) {
  CAPTURE(rows, cols, first);
  Cpu cpu;
  const int64_t n = rows * cols;
  Array<T> x(Random(n, 3, 1)), y(n);
  const Tensor tx = cpu.In(&x), ty = cpu.Out<T>(n);
  Indices(DropoutBlocks(n),
          DropoutBlock<T>{x.data(), y.data(), n, cols, 0.3f, 1.0f / 0.7f, 5, 9, &first});
  cpu->Dropout(tx.data(), ty.data(), rows, cols, 0.3f, 5, 9, &first, {}, kDtype<T>);
  // The same elements are kept, whatever block of numbers the first falls into; scaled alike but
  // for the rounding of 1 / (1 - rate).
  const Floats mine = y.Read(), theirs = ToHost(ty);
  for (size_t i = 0; i < mine.size(); ++i) REQUIRE((mine[i] == 0) == (theirs[i] == 0));
  Near(mine, theirs, Epsilon(kDtype<T>));

  const DropoutPart part{cols, 3, cols + 8};
  Indices(n,
          DropoutPartElement<T>{x.data(), y.data(), cols, part, 0.3f, 1.0f / 0.7f, 5, 9, &first});
  cpu->Dropout(tx.data(), ty.data(), rows, cols, 0.3f, 5, 9, &first, part, kDtype<T>);
  Near(y.Read(), ToHost(ty), Epsilon(kDtype<T>));
}

TEST_CASE("dropout on the GPU keeps what the CPU keeps") {
  for (const int64_t first : {0, 1, 2, 3, 1000003}) {
    CheckDropoutBits<float>(5, 7, first);
    CheckDropoutBits<uint16_t>(3, 29, first);
    CheckDropoutBits<float>(1, 1, first);
  }
}

template <int W, OptimizerKind kind, bool momentum, bool nesterov>
void CheckUpdateBody(OptimizerStep step, int64_t n) {
  CAPTURE(n, W, static_cast<int>(kind), momentum, nesterov);
  step.kind = kind;
  step.momentum = momentum ? 0.9f : 0.0f;
  step.nesterov = nesterov;
  Cpu cpu;
  Array<float> g(Random(n, 1, 1)), w(Random(n, 1, 2)), m(Random(n, 0.1f, 3)), v(Random(n, 0.1f, 4));
  for (auto* a : {&m, &v}) {
    for (int64_t i = 0; i < n; ++i) a->v[static_cast<size_t>(i)] = std::abs(a->v[i]);
  }
  Array<uint16_t> w16(n);
  const Tensor tg = cpu.In(&g), tw = cpu.In(&w), tm = cpu.In(&m), tv = cpu.In(&v);
  const Tensor t16 = cpu.Out<uint16_t>(n);
  OptimizerStep stale = step;  // the one in device memory counts
  stale.learning_rate = 100;
  Packs<W>(n, UpdateElements<W, kind, momentum, nesterov, true>{stale, &step, g.data(), w.data(),
                                                                w16.data(), m.data(), v.data()});
  cpu->Update(step, tg.f32(), tw.f32(), t16.bf16(), tm.f32(), tv.f32(), n);
  const auto head = [n](Floats all) {
    all.resize(static_cast<size_t>(n));
    return all;
  };
  Near(w.Read(), head(ToHost(tw)), 1e-6);
  Near(m.Read(), head(ToHost(tm)), 1e-6);
  Near(v.Read(), head(ToHost(tv)), 1e-6);
  Near(w16.Read(), ToHost(t16), Epsilon(Dtype::kBF16));
}

TEST_CASE("update bodies equal the CPU device's optimizers") {
  OptimizerStep step;
  step.learning_rate = 0.1f;
  step.gradient_scale = 0.5f;
  step.l1 = 0.01f;
  step.l2 = 0.02f;
  step.weight_decay = 0.1f;
  step.beta1 = 0.9;
  step.beta2 = 0.999;
  step.bias1 = 0.5f;
  step.bias2 = 0.25f;
  step.epsilon = 1e-3f;
  using Kind = OptimizerKind;
  for (const int64_t n : {1, 4, 19}) {
    CheckUpdateBody<4, Kind::kSgd, false, false>(step, n);
    CheckUpdateBody<4, Kind::kSgd, true, false>(step, n);
    CheckUpdateBody<1, Kind::kSgd, true, true>(step, n);
    CheckUpdateBody<4, Kind::kAdaGrad, false, false>(step, n);
    CheckUpdateBody<4, Kind::kAdam, false, false>(step, n);
  }
}

template <class T, int W>
void CheckColumns() {
  Cpu cpu;
  const int64_t rows = 5, cols = 2 * W, from = 4 * W, to = 3 * W;
  Array<T> src(Random(rows * from, 1, 1)), dst(Random(rows * to, 1, 2));
  const Tensor ts = cpu.In(&src), td = cpu.In(&dst);
  Cells(rows, cols / W, CopyColumnsOf<W, T>{src.data() + W, dst.data(), from, to});
  cpu->CopyColumns(ts.data(), from, W, td.data(), to, 0, rows, cols, kDtype<T>);
  Floats expected = ToHost(td);
  expected.resize(static_cast<size_t>(rows * to));
  Near(dst.Read(), expected, 0);

  Array<T> placed(rows * to);
  const Tensor tp = cpu.Out<T>(rows * to);
  Cells(rows, to, PlaceColumnsOf<T>{src.data(), placed.data(), to, 1, to - 2});
  cpu->PlaceColumns(ts.data(), tp.data(), to, 1, rows, to - 2, kDtype<T>);
  Near(placed.Read(), ToHost(tp), 0);
}

template <class T, int W>
void CheckSpliceBody(int dim) {
  CAPTURE(dim, W);
  Cpu cpu;
  const int left = 2, right = 3;
  const int64_t width = (left + 1 + right) * dim;
  const std::vector<int32_t> center{0, 4, 8, 9, 5}, begin{0, 0, 5, 9, 5}, end{5, 5, 9, 10, 9};
  Array<float> frames(Random(10 * dim, 1, 1));
  Array<T> y(5 * width);
  Cells(5, width / W,
        SpliceOf<W, T>{frames.data(), center.data(), begin.data(), end.data(), y.data(), dim, left,
                       width});
  const Tensor ty = cpu.Out<T>(5 * width);
  cpu->Splice(frames.data(), dim, center.data(), begin.data(), end.data(), 5, left, right,
              ty.data(), kDtype<T>);
  Near(y.Read(), ToHost(ty), 0);
}

TEST_CASE("bodies over columns and frames equal the CPU device") {
  CheckColumns<float, 4>();
  CheckColumns<float, 1>();
  CheckColumns<uint16_t, 8>();
  CheckSpliceBody<float, 4>(8);
  CheckSpliceBody<float, 1>(13);
  CheckSpliceBody<uint16_t, 4>(12);
}

template <class T>
void CheckLrnBody(const LrnSpec& s, int64_t channels) {
  CAPTURE(s.size, channels);
  Cpu cpu;
  const int64_t pixels = 3, n = pixels * channels;
  Array<T> x(Random(n, 4, 1)), dy(Random(n, 1, 2)), y(n), dx(n);
  const Tensor tx = cpu.In(&x), tdy = cpu.In(&dy), ty = cpu.Out<T>(n), tdx = cpu.Out<T>(n);
  LrnOf<T> body{
      x.data(), dy.data(),  y.data(),        s.k, s.alpha / static_cast<float>(s.size), s.beta,
      channels, s.size / 2, (s.size - 1) / 2};
  Cells(pixels, channels, body);
  cpu->Lrn(s, tx.data(), ty.data(), pixels, channels, kDtype<T>);
  Near(y.Read(), ToHost(ty), Epsilon(kDtype<T>));
  body.y = dx.data();
  Cells(pixels, channels, LrnBackwardOf<T>{body});
  cpu->LrnBackward(s, tx.data(), tdy.data(), tdx.data(), pixels, channels, kDtype<T>);
  Near(dx.Read(), ToHost(tdx), 4 * Epsilon(kDtype<T>));
}

template <class T>
void CheckDotsBodies(int vectors, int size) {
  Cpu cpu;
  const int64_t rows = 3, in = vectors * size, out = vectors * (vectors - 1) / 2;
  Array<T> x(Random(rows * in, 1, 1)), dy(Random(rows * out, 1, 2)), y(rows * out), dx(rows * in);
  const Tensor tx = cpu.In(&x), tdy = cpu.In(&dy);
  const Tensor ty = cpu.Out<T>(rows * out), tdx = cpu.Out<T>(rows * in);
  Cells(rows, vectors * vectors, DotsOf<T>{x.data(), y.data(), vectors, size});
  cpu->Dots(tx.data(), ty.data(), rows, vectors, size, kDtype<T>);
  Near(y.Read(), ToHost(ty), 2 * Epsilon(kDtype<T>));
  Cells(rows, in, DotsBackwardOf<T>{x.data(), dy.data(), dx.data(), vectors, size});
  cpu->DotsBackward(tx.data(), tdy.data(), tdx.data(), rows, vectors, size, kDtype<T>);
  Near(dx.Read(), ToHost(tdx), 2 * Epsilon(kDtype<T>));
}

TEST_CASE("bodies of local response normalisation and dot products equal the CPU device") {
  for (const LrnSpec& s : {LrnSpec{5, 0.5f, 0.75f, 1}, LrnSpec{4, 0.5f, 0.6f, 2}}) {
    for (const int64_t channels : {1, 3, 20}) {
      CheckLrnBody<float>(s, channels);
      CheckLrnBody<uint16_t>(s, channels);
    }
  }
  CheckDotsBodies<float>(2, 1);
  CheckDotsBodies<float>(7, 5);
  CheckDotsBodies<uint16_t>(5, 4);
}

template <class T, int W>
void CheckPoolBodies(PoolSpec s, int64_t images) {
  CAPTURE(s.kind == PoolKind::kMax, s.count_padding, W, s.in.channels, s.window.kernel_h);
  Cpu cpu;
  s.max_rows = images;
  s.dtype = kDtype<T>;
  const int64_t in = images * s.in.elements(), out = images * s.out.elements();
  Floats values = Random(in, 1, 1);
  for (size_t i = 0; i < values.size(); i += 3) values[i] = 0.5f;  // equal pixels
  Array<T> x(values), dy(Random(out, 1, 2)), y(out), dx(in);
  const Tensor tx = cpu.In(&x), tdy = cpu.In(&dy), ty = cpu.Out<T>(out), tdx = cpu.Out<T>(in);
  const std::unique_ptr<PoolOp> op = cpu->MakePool(s);
  std::vector<uint8_t> saved(static_cast<size_t>(out)), theirs(static_cast<size_t>(out));
  Cells(images * s.out.height * s.out.width, s.in.channels / W,
        PoolForward<W, T>{PoolShape::Of(s), x.data(), y.data(), saved.data()});
  op->Forward(tx.data(), ty.data(), theirs.data(), images);
  Near(y.Read(), ToHost(ty), Epsilon(kDtype<T>));
  if (s.kind == PoolKind::kMax) REQUIRE(saved == theirs);
  Cells(images * s.in.height * s.in.width, s.in.channels / W,
        PoolBackward<W, T>{PoolShape::Of(s), dy.data(), saved.data(), dx.data()});
  op->Backward(tdy.data(), theirs.data(), tdx.data(), images);
  Near(dx.Read(), ToHost(tdx), Epsilon(kDtype<T>));
}

TEST_CASE("pooling bodies equal the CPU device, first of equals included") {
  const Window uneven{3, 2, 2, 3, 1, 1, 1, 0, 0, 1};
  const Window wide{3, 3, 2, 2, 1, 1, 1, 1, 1, 1};
  for (const PoolKind kind : {PoolKind::kMax, PoolKind::kAverage}) {
    for (const bool count : {true, false}) {
      PoolSpec s;
      s.kind = kind;
      s.count_padding = count;
      s.in = {10, 9, 8};
      s.out = {5, 3, 8};
      s.window = uneven;
      CheckPoolBodies<float, 4>(s, 3);
      CheckPoolBodies<uint16_t, 8>(s, 2);
      s.in = {9, 8, 3};
      s.out = {5, 4, 3};
      s.window = wide;
      CheckPoolBodies<float, 1>(s, 2);
      s.window = {3, 3, 2, 2};  // beyond the image
      s.in = {8, 8, 3};
      s.out = {4, 4, 3};
      CheckPoolBodies<float, 1>(s, 1);
    }
  }
}

TEST_CASE("images move into larger ones and back") {
  const ImageSize small{3, 4, 4}, large{6, 6, 4};
  const int64_t images = 2;
  Floats values = Random(images * small.elements(), 1, 1);
  Array<float> x(values), y(images * large.elements()), back(images * small.elements());
  Cells(images * 36, 1, ShiftImageOf<4, float>{x.data(), y.data(), small, large, 1, 2});
  const Floats padded = y.Read();
  for (int64_t i = 0; i < images * large.elements(); ++i) {
    const int64_t c = i % 4, w = i / 4 % 6 - 2, h = i / 24 % 6 - 1, image = i / 144;
    const bool inside = h >= 0 && h < 3 && w >= 0 && w < 4;
    const auto from = static_cast<size_t>(((image * 3 + h) * 4 + w) * 4 + c);
    REQUIRE(padded[static_cast<size_t>(i)] == (inside ? values[from] : 0.0f));
  }
  Cells(images * 12, 4, ShiftImageOf<1, float>{y.data(), back.data(), large, small, -1, -2});
  REQUIRE(back.Read() == values);
}

TEST_CASE("a bias and an activation over rows") {
  Floats b = Random(8, 1, 1), x = Random(3 * 8, 2, 2);
  Array<float> y(x), bias(b);
  Cells(3, 2, BiasActivateOf<4, Activation::kTanh, float>{bias.data(), y.data(), 8});
  Doubles expected;
  for (size_t i = 0; i < x.size(); ++i) expected.push_back(std::tanh(double{x[i]} + b[i % 8]));
  RequireNear(y.Read(), expected, 1e-6);
}

}  // namespace
}  // namespace mariana
