#include "common/device/cpu/linear.h"

#include <glog/logging.h>

#include <cstring>

#include "common/base/error.h"
#include "common/device/cpu/gemm.h"

namespace mariana {
namespace {

constexpr int64_t kColumnGrain = 16, kRowGrain = 8;

// Weights stay in plain [out, in] layout. Each product is split over the threads along the longer
// side of its result.
class CpuLinear : public LinearOp {
 public:
  CpuLinear(const LinearSpec& spec, Pool* pool, HostMemory* memory, const Kernels& kernels)
      : spec_(spec), pool_(pool), memory_(memory), kernels_(kernels) {}

  int64_t weight_elements() const override { return spec_.in * spec_.out; }
  void PackWeights(const float* plain, float* packed) const override {
    std::memcpy(packed, plain, weight_elements() * sizeof(float));
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    std::memcpy(plain, packed, weight_elements() * sizeof(float));
  }

 protected:
  // slice(first row, rows, first column, columns) over parts of a [rows, cols] result.
  template <class F>
  void Slices(int64_t rows, int64_t cols, const F& slice) {
    if (cols >= rows) {
      pool_->Split(cols, kColumnGrain, [&](int64_t b, int64_t e) { slice(0, rows, b, e - b); });
    } else {
      pool_->Split(rows, kRowGrain, [&](int64_t b, int64_t e) { slice(b, e - b, 0, cols); });
    }
  }

  // dy becomes the gradient before the activation; db its column sums. copy16 as in Kernels.
  void SlopeAndSums(const void* y, void* dy, float* db, int64_t rows, bool accumulate,
                    uint16_t* copy16) {
    if (spec_.activation == Activation::kNone && db == nullptr && copy16 == nullptr) return;
    const int64_t out = spec_.out, size = SizeOf(spec_.output);
    pool_->Split(out, kColumnGrain, [&](int64_t b, int64_t e) {
      kernels_.slope_and_sums(spec_.activation, static_cast<const char*>(y) + b * size,
                              static_cast<char*>(dy) + b * size, out, rows, e - b,
                              db == nullptr ? nullptr : db + b, accumulate,
                              copy16 == nullptr ? nullptr : copy16 + b, spec_.output);
    });
  }

  const LinearSpec spec_;
  Pool* const pool_;
  HostMemory* const memory_;
  const Kernels& kernels_;
};

class F32Linear : public CpuLinear {
 public:
  using CpuLinear::CpuLinear;

  void Forward(const void* x, const float* w, const uint16_t*, const float* b, void* y,
               int64_t rows) override {
    const int64_t in = spec_.in, out = spec_.out;
    Slices(rows, out, [&](int64_t r, int64_t m, int64_t c, int64_t n) {
      float* part = static_cast<float*>(y) + r * out + c;
      F32Gemm(m, n, in, {static_cast<const float*>(x) + r * in, in, false}, {w + c * in, in, true},
              part, out, false);
      kernels_.bias_activate(spec_.activation, spec_.bias ? b + c : nullptr, part, out, m, n);
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t*, void* dx,
                float* dw, float* db, int64_t rows, bool accumulate) override {
    const int64_t in = spec_.in, out = spec_.out;
    SlopeAndSums(y, dy, db, rows, accumulate, nullptr);
    const float *xf = static_cast<const float*>(x), *dz = static_cast<const float*>(dy);
    Slices(out, in, [&](int64_t r, int64_t m, int64_t c, int64_t n) {
      F32Gemm(m, n, rows, {dz + r, out, true}, {xf + c, in, false}, dw + r * in + c, in,
              accumulate);
    });
    if (dx == nullptr) return;
    Slices(rows, in, [&](int64_t r, int64_t m, int64_t c, int64_t n) {
      F32Gemm(m, n, out, {dz + r * out, out, false}, {w + c, in, false},
              static_cast<float*>(dx) + r * in + c, in, false);
    });
  }
};

class Bf16Linear : public CpuLinear {
 public:
  Bf16Linear(const LinearSpec& spec, Pool* pool, HostMemory* memory, const Kernels& kernels)
      : CpuLinear(spec, pool, memory, kernels) {
    if (spec.output == Dtype::kF32) {
      dz16_ = static_cast<uint16_t*>(memory->Allocate(spec.max_rows * spec.out * 2));
    }
    // Says now if the CPU cannot.
    gemms_.Prepare({spec.max_rows, spec.out, spec.in, spec.in, spec.in, spec.out, false, true,
                    spec.bias, false, spec.output});
  }
  ~Bf16Linear() override { memory_->Free(dz16_); }

  void Forward(const void* x, const float*, const uint16_t* w16, const float* b, void* y,
               int64_t rows) override {
    const int64_t in = spec_.in, out = spec_.out, size = SizeOf(spec_.output);
    Product(rows, out, in, {x, in, false}, {w16, in, true}, spec_.bias ? b : nullptr, y,
            spec_.output, false);
    if (spec_.activation == Activation::kNone) return;
    pool_->Split(rows * out, 4096, [&](int64_t begin, int64_t end) {
      char* part = static_cast<char*>(y) + begin * size;
      kernels_.activate(spec_.activation, part, part, end - begin, spec_.output);
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float*, const uint16_t* w16, void* dx,
                float* dw, float* db, int64_t rows, bool accumulate) override {
    const int64_t in = spec_.in, out = spec_.out;
    SlopeAndSums(y, dy, db, rows, accumulate, dz16_);
    const void* dz = dz16_ != nullptr ? dz16_ : dy;
    Product(out, in, rows, {dz, out, true}, {x, in, false}, nullptr, dw, Dtype::kF32, accumulate);
    if (dx == nullptr) return;
    Product(rows, in, out, {dz, out, false}, {w16, in, false}, nullptr, dx, spec_.input, false);
  }

 private:
  void Product(int64_t m, int64_t n, int64_t k, GemmOperand a, GemmOperand b, const float* bias,
               void* c, Dtype c_type, bool accumulate) {
    // Compiled here, on one thread; the threads then only look up.
    const auto shape = [&](int64_t rows, int64_t cols) {
      return Bf16Gemms::Shape{
          rows,       cols,  k, a.stride, b.stride, n, a.transposed, b.transposed, bias != nullptr,
          accumulate, c_type};
    };
    struct Part {
      int64_t r, c;
      const Bf16Gemms::Product* product;
    };
    std::vector<Part> parts;
    ForEachPart(m, n, [&](int64_t r, int64_t rows, int64_t col, int64_t cols) {
      parts.push_back({r, col, gemms_.Prepare(shape(rows, cols))});
    });
    pool_->Run(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      const Part& p = parts[i];
      Bf16Gemms::Run(p.product, At16(a, a.transposed ? p.r : p.r * a.stride),
                     At16(b, b.transposed ? p.c * b.stride : p.c),
                     bias == nullptr ? nullptr : bias + p.c,
                     static_cast<char*>(c) + (p.r * n + p.c) * SizeOf(c_type));
    });
  }

  static const uint16_t* At16(const GemmOperand& o, int64_t i) {
    return static_cast<const uint16_t*>(o.data) + i;
  }

  // The slices of Slices, in order, on this thread.
  template <class F>
  void ForEachPart(int64_t m, int64_t n, const F& part) {
    const bool columns = n >= m;
    const int64_t length = columns ? n : m, grain = columns ? kColumnGrain : kRowGrain;
    const int64_t grains = (length + grain - 1) / grain;
    const int64_t count = std::min<int64_t>(grains, pool_->threads());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t b = grains * i / count * grain;
      const int64_t e = std::min(length, grains * (i + 1) / count * grain);
      columns ? part(0, m, b, e - b) : part(b, e - b, 0, n);
    }
  }

  Bf16Gemms gemms_;
  uint16_t* dz16_ = nullptr;  // dy rounded, when y is fp32
};

}  // namespace

std::unique_ptr<LinearOp> MakeCpuLinear(const LinearSpec& spec, Pool* pool, HostMemory* memory,
                                        const Kernels& kernels) {
  CHECK(spec.in > 0 && spec.out > 0 && spec.max_rows > 0);
  if (spec.input == Dtype::kBF16) {
    return std::make_unique<Bf16Linear>(spec, pool, memory, kernels);
  }
  if (spec.input != Dtype::kF32 || spec.output != Dtype::kF32) {
    throw Fail(ExitCode::kUsage, "cpu device: a linear layer from ", Name(spec.input), " to ",
               Name(spec.output), " is not built; f32 to f32, bf16 to bf16 and bf16 to f32 are");
  }
  return std::make_unique<F32Linear>(spec, pool, memory, kernels);
}

}  // namespace mariana
