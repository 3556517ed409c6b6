// Cases of the device's other operations, on any device: each against float64.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>

#include "tests/common/device/values.h"

namespace mariana::device_cases {

inline Tensor OneI64(Device* device, int64_t value) {
  Tensor tensor(device, Dtype::kI64, {1});
  tensor.Upload(&value);
  return tensor;
}
inline const int64_t* I64(const Tensor& tensor) {
  return static_cast<const int64_t*>(tensor.data());
}

// ---- element-wise
inline void CheckElementwise(Device* device, Dtype t, int64_t n) {
  CAPTURE(Name(t), n);
  Floats a = Random(n, 8, 1), b = Random(n, 8, 2);
  const Tensor ta = ToDevice(device, t, {n}, &a), tb = ToDevice(device, t, {n}, &b);
  const Tensor y(device, t, {n});
  Doubles expected(n);
  device->Add(ta.data(), tb.data(), y.data(), n, t);
  for (int64_t i = 0; i < n; ++i) expected[i] = double{a[i]} + b[i];
  RequireNear(ToHost(y), expected, Epsilon(t));
  for (const Activation f :
       {Activation::kNone, Activation::kSigmoid, Activation::kTanh, Activation::kRelu}) {
    device->Activate(f, ta.data(), y.data(), n, t);
    const Floats out = ToHost(y);
    for (int64_t i = 0; i < n; ++i) expected[i] = Apply(f, a[i]);
    RequireNear(out, expected, Epsilon(t));
    const Tensor dx = ToDevice(device, t, {n}, &b);  // in place
    device->ActivateBackward(f, y.data(), dx.data(), dx.data(), n, t);
    for (int64_t i = 0; i < n; ++i) expected[i] = b[i] * Slope(f, out[i]);
    RequireNear(ToHost(dx), expected, Epsilon(t));
  }
}

inline void CheckMultiplyAdd(Device* device, Dtype t, int64_t n) {
  CAPTURE(Name(t), n);
  Floats v[4];
  Tensor on[4];
  for (int i = 0; i < 4; ++i) {
    v[i] = Random(n, 4, 1 + i);
    on[i] = ToDevice(device, t, {n}, &v[i]);
  }
  const Tensor y(device, t, {n}), db(device, t, {n});
  device->MultiplyAdd(on[0].data(), on[1].data(), on[2].data(), y.data(), n, t);
  Doubles sum(n), da(n), expected_db(n);
  for (int64_t i = 0; i < n; ++i) {
    sum[i] = double{v[0][i]} * v[1][i] + v[2][i];
    da[i] = double{v[3][i]} * v[1][i];
    expected_db[i] = double{v[3][i]} * v[0][i];
  }
  RequireNear(ToHost(y), sum, Epsilon(t));
  const auto backward = [&](const Tensor& dy, void* a, void* b) {
    device->MultiplyAddBackward(on[0].data(), on[1].data(), dy.data(), a, b, n, t);
  };
  backward(on[3], nullptr, db.data());
  RequireNear(ToHost(db), expected_db, Epsilon(t));
  backward(on[3], y.data(), nullptr);
  RequireNear(ToHost(y), da, Epsilon(t));
  backward(on[3], on[3].data(), db.data());  // in place
  RequireNear(ToHost(on[3]), da, Epsilon(t));
  RequireNear(ToHost(db), expected_db, Epsilon(t));
}

inline void CheckConvert(Device* device) {
  // Halfway between two bf16 values goes to the even one; just beside it, to the nearest.
  Floats x = {1.00390625f,
              1.01171875f,
              1.003907f,
              1.003906f,
              -1.00390625f,
              3.4e38f,
              0.0f,
              std::numeric_limits<float>::infinity(),
              std::numeric_limits<float>::quiet_NaN()};
  const Floats expected = {1.0f,       1.015625f,
                           1.0078125f, 1.0f,
                           -1.0f,      std::numeric_limits<float>::infinity(),
                           0.0f,       std::numeric_limits<float>::infinity()};
  const int64_t n = static_cast<int64_t>(x.size());
  const Tensor from = ToDevice(device, Dtype::kF32, {n}, &x);
  const Tensor half(device, Dtype::kBF16, {n}), back(device, Dtype::kF32, {n});
  device->Convert(from.data(), Dtype::kF32, half.data(), Dtype::kBF16, n);
  device->Convert(half.data(), Dtype::kBF16, back.data(), Dtype::kF32, n);
  Floats result = ToHost(back);
  REQUIRE(std::isnan(result.back()));
  result.pop_back();
  REQUIRE(result == expected);
}

// A draw depends on seed, stream and index alone: parts of a batch are parts of its mask.
inline void CheckDropout(Device* device, Dtype t) {
  const int64_t rows = 37, cols = 29;
  const float rate = 0.3f;
  Floats x(rows * cols, 1.0f);
  const Tensor tx = ToDevice(device, t, {rows, cols}, &x), y(device, t, {rows, cols});
  const Tensor first = OneI64(device, 11), later = OneI64(device, 11 + 20);
  device->Dropout(tx.data(), y.data(), rows, cols, rate, 5, 9, I64(first), {}, t);
  const Floats whole = ToHost(y);
  Doubles expected;
  for (uint64_t i = 11 * cols; i < uint64_t{(11 + rows) * cols}; ++i) {
    const uint32_t word = Philox(5, 9, i / 4).v[i % 4];
    expected.push_back(ToUnit(word) >= rate ? 1 / (1 - double{rate}) : 0);
  }
  RequireNear(whole, expected, Epsilon(t));
  const double kept = static_cast<double>(rows * cols - std::count(whole.begin(), whole.end(), 0));
  REQUIRE(std::abs(kept / (rows * cols) - 0.7) < 0.05);
  const Tensor part = tx.Rows(0, 5);
  device->Dropout(part.data(), y.data(), 5, cols, rate, 5, 9, I64(later), {}, t);
  const Floats some = ToHost(y.Rows(0, 5));
  REQUIRE(std::equal(some.begin(), some.end(), whole.begin() + 20 * cols));
}

// Columns that a worker has of a layer are masked as in the whole layer.
inline void CheckDropoutPart(Device* device, Dtype t) {
  const int64_t rows = 5, pixels = 6, channels = 7, first = 4, whole = 13;
  Floats ones(rows * pixels * whole, 1.0f);
  const Tensor sample = OneI64(device, 3);
  const Tensor x = ToDevice(device, t, {rows, pixels * whole}, &ones);
  const Tensor all(device, t, {rows, pixels, whole}), part(device, t, {rows, pixels, channels});
  device->Dropout(x.data(), all.data(), rows, pixels * whole, 0.4f, 5, 9, I64(sample), {}, t);
  device->Dropout(x.data(), part.data(), rows, pixels * channels, 0.4f, 5, 9, I64(sample),
                  {channels, first, whole}, t);
  const Tensor expected(device, t, {rows, pixels, channels});
  device->CopyColumns(all.data(), whole, first, expected.data(), channels, 0, rows * pixels,
                      channels, t);
  REQUIRE(ToHost(part) == ToHost(expected));
}

inline void CheckCopyColumns(Device* device, Dtype t) {
  Floats src = Random(5 * 9, 1, 1), dst = Random(5 * 7, 1, 2);
  const Tensor ts = ToDevice(device, t, {5, 9}, &src), td = ToDevice(device, t, {5, 7}, &dst);
  device->CopyColumns(ts.data(), 9, 2, td.data(), 7, 3, 5, 4, t);
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t c = 0; c < 4; ++c) dst[r * 7 + 3 + c] = src[r * 9 + 2 + c];
  }
  REQUIRE(ToHost(td) == dst);
}

inline void CheckPlaceColumns(Device* device, Dtype t) {
  Floats src = Random(5 * 3, 1, 1), dst = Random(5 * 7, 1, 2);
  const Tensor ts = ToDevice(device, t, {5, 3}, &src), td = ToDevice(device, t, {5, 7}, &dst);
  for (const int64_t column : {0, 2, 4}) {
    device->PlaceColumns(ts.data(), td.data(), 7, column, 5, 3, t);
    Floats expected(5 * 7, 0.0f);
    for (int64_t i = 0; i < 5 * 3; ++i) expected[i / 3 * 7 + column + i % 3] = src[i];
    REQUIRE(ToHost(td) == expected);
  }
}

// Products and gradients of pairs of vectors; returns what the device made.
inline Floats CheckDots(Device* device, Dtype t, int64_t rows, int64_t vectors, int64_t size) {
  CAPTURE(Name(t), rows, vectors, size);
  const int64_t in = vectors * size, out = vectors * (vectors - 1) / 2;
  Floats x = Random(rows * in, 1, 1), dy = Random(rows * out, 1, 2);
  const Tensor tx = ToDevice(device, t, {rows, in}, &x), ty(device, t, {rows, out});
  const Tensor tdy = ToDevice(device, t, {rows, out}, &dy), tdx(device, t, {rows, in});
  Doubles y, dx(rows * in, 0.0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < vectors; ++i) {
      for (int64_t j = i + 1; j < vectors; ++j) {
        const int64_t a = r * in + i * size, b = r * in + j * size;
        const double slope = dy[y.size()];
        double sum = 0;
        for (int64_t k = 0; k < size; ++k) {
          sum += double{x[a + k]} * x[b + k];
          dx[a + k] += slope * x[b + k];
          dx[b + k] += slope * x[a + k];
        }
        y.push_back(sum);
      }
    }
  }
  device->Dots(tx.data(), ty.data(), rows, vectors, size, t);
  Floats all = ToHost(ty);
  RequireNear(all, y, 4 * Epsilon(t));
  device->DotsBackward(tx.data(), tdy.data(), tdx.data(), rows, vectors, size, t);
  const Floats gradient = ToHost(tdx);
  RequireNear(gradient, dx, 4 * Epsilon(t));
  Append(gradient, &all);
  return all;
}

inline void CheckSplice(Device* device, Dtype t) {
  const int64_t dim = 3, rows = 4;
  const int left = 2, right = 1;
  Floats frames = Random(10 * dim, 1, 1);
  const Tensor tf = ToDevice(device, Dtype::kF32, {10, dim}, &frames);
  const std::vector<int32_t> center = {0, 4, 5, 9}, begin = {0, 0, 5, 5}, end = {5, 5, 6, 10};
  const auto upload = [&](const std::vector<int32_t>& v) {
    Tensor i(device, Dtype::kI32, {rows});
    i.Upload(v.data());
    return i;
  };
  const Tensor y(device, t, {rows, 4 * dim});
  device->Splice(tf.f32(), dim, upload(center).i32(), upload(begin).i32(), upload(end).i32(), rows,
                 left, right, y.data(), t);
  Doubles expected;
  for (int64_t r = 0; r < rows; ++r) {
    for (int k = -left; k <= right; ++k) {
      const int32_t f = std::min(std::max(center[r] + k, begin[r]), end[r] - 1);
      for (int64_t i = 0; i < dim; ++i) expected.push_back(frames[f * dim + i]);
    }
  }
  RequireNear(ToHost(y), expected, t == Dtype::kF32 ? 0 : Epsilon(t));
}

// ---- batch normalisation
struct NormCase {
  std::vector<int32_t> groups;
  int64_t cols;
  Dtype t = Dtype::kF32;
  int64_t pixels = 1;
  bool relu = false, residual = false;
  float mean = 0;  // of x
};

// y before the activation, in float64.
inline Doubles Normalise(const NormCase& c, const Doubles& x, const Doubles& gamma,
                         const Doubles& beta, const Doubles& residual) {
  Doubles y(x.size());
  int64_t row = 0;
  for (const int32_t samples : c.groups) {
    const int64_t rows = samples * c.pixels;
    for (int64_t j = 0; j < c.cols; ++j) {
      double mean = 0, variance = 0;
      for (int64_t r = row; r < row + rows; ++r) {
        mean += x[r * c.cols + j] / static_cast<double>(rows);
      }
      for (int64_t r = row; r < row + rows; ++r) {
        variance += std::pow(x[r * c.cols + j] - mean, 2) / static_cast<double>(rows);
      }
      for (int64_t r = row; r < row + rows; ++r) {
        const int64_t i = r * c.cols + j;
        y[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * gamma[j] + beta[j];
        if (c.residual) y[i] += residual[i];
      }
    }
    row += rows;
  }
  return y;
}

// Checks outputs, and gradients by differences in float64 where `differences`; returns all that
// the device made.
inline Floats CheckBatchNorm(Device* device, const NormCase& c, bool differences) {
  CAPTURE(c.cols, c.pixels, c.relu, c.residual, Name(c.t));
  int64_t rows = 0;
  for (const int32_t g : c.groups) rows += g * c.pixels;
  const int64_t n = rows * c.cols, groups = static_cast<int64_t>(c.groups.size());
  Floats x = Random(n, 3, 1), gamma = Random(c.cols, 2, 2), beta = Random(c.cols, 2, 3);
  Floats dy = Random(n, 1, 4), residual = Random(n, 1, 5), sums(c.cols, 0.5f);
  for (float& v : x) v += c.mean;
  const Tensor tx = ToDevice(device, c.t, {n}, &x), ty(device, c.t, {n});
  const Tensor tr = ToDevice(device, c.t, {n}, &residual), tdr(device, c.t, {n});
  const Tensor tg = ToDevice(device, Dtype::kF32, {c.cols}, &gamma);
  const Tensor tb = ToDevice(device, Dtype::kF32, {c.cols}, &beta);
  const Tensor stats(device, Dtype::kF32, {groups, 2, c.cols});
  Device::BatchNormArgs args{c.groups.data(), static_cast<int>(groups), c.pixels, c.cols, 1e-5f};
  if (c.relu) args.activation = Activation::kRelu;
  device->BatchNormTrain(args, tx.data(), tg.f32(), tb.f32(), c.residual ? tr.data() : nullptr,
                         ty.data(), stats.f32(), c.t);
  Floats all = ToHost(ty);
  const Doubles x64(x.begin(), x.end()), g64(gamma.begin(), gamma.end()),
      b64(beta.begin(), beta.end()), r64(residual.begin(), residual.end());
  const double rough = 1 + std::abs(c.mean) / 8;  // what fp32 leaves of x - mean
  Doubles expected_y = Normalise(c, x64, g64, b64, r64);
  for (double& v : expected_y) v = c.relu && v < 0 ? 0 : v;
  RequireNear(all, expected_y, 4 * Epsilon(c.t) * rough);

  const Tensor tdx = ToDevice(device, c.t, {n}, &dy);  // in place
  const Tensor dg = ToDevice(device, Dtype::kF32, {c.cols}, &sums);
  const Tensor db = ToDevice(device, Dtype::kF32, {c.cols}, &sums);
  device->BatchNormBackward(args, tx.data(), c.relu ? ty.data() : nullptr, tdx.data(), tg.f32(),
                            stats.f32(), tdx.data(), c.residual ? tdr.data() : nullptr, dg.f32(),
                            db.f32(), true, c.t);
  Doubles behind(n);  // the gradient behind the activation
  for (int64_t i = 0; i < n; ++i) behind[i] = c.relu && all[i] <= 0 ? 0 : dy[i];
  if (c.residual) RequireNear(ToHost(tdr), behind, 0);
  for (const Tensor* tensor : {&stats, &tdx, &dg, &db}) Append(ToHost(*tensor), &all);
  if (!differences) return all;
  const auto check = [&](const Tensor& gradient, int which, double start) {
    Doubles expected;
    Doubles v[3] = {x64, g64, b64};
    for (int64_t i = 0; i < gradient.elements(); ++i) {
      double at[2] = {0, 0};
      const double kept = v[which][i];
      for (int side = 0; side < 2; ++side) {
        v[which][i] = kept + (side ? 1e-5 : -1e-5);
        const Doubles y = Normalise(c, v[0], v[1], v[2], r64);
        for (int64_t j = 0; j < n; ++j) at[side] += behind[j] * y[j];
      }
      v[which][i] = kept;
      expected.push_back(start + (at[1] - at[0]) / 2e-5);
    }
    RequireNear(ToHost(gradient), expected, c.t == Dtype::kF32 ? 1e-4 : Epsilon(c.t));
  };
  check(tdx, 0, 0);
  check(dg, 1, 0.5);
  check(db, 2, 0.5);
  return all;
}

inline void CheckBatchNormInfer(Device* device, Dtype t, bool fused) {
  const int64_t rows = 3, pixels = 5, cols = 19, n = rows * pixels * cols;
  Floats x = Random(n, 3, 1), gamma = Random(cols, 2, 2), beta = Random(cols, 2, 3);
  Floats mean = Random(cols, 1, 4), variance = Random(cols, 1, 5), residual = Random(n, 1, 6);
  for (float& v : variance) v += 1.5f;
  const Tensor tx = ToDevice(device, t, {n}, &x), y(device, t, {n});
  const Tensor tr = ToDevice(device, t, {n}, &residual);
  const auto up = [&](Floats* v) { return ToDevice(device, Dtype::kF32, {cols}, v); };
  Device::BatchNormArgs args{nullptr, 0, pixels, cols, 1e-3f};
  if (fused) args.activation = Activation::kRelu;
  device->BatchNormInfer(args, tx.data(), up(&gamma).f32(), up(&beta).f32(), up(&mean).f32(),
                         up(&variance).f32(), fused ? tr.data() : nullptr, y.data(), rows, t);
  Doubles expected;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t j = i % cols;
    double v = (x[i] - mean[j]) / std::sqrt(variance[j] + 1e-3) * gamma[j] + beta[j];
    if (fused) v = std::max(0.0, v + residual[i]);
    expected.push_back(v);
  }
  RequireNear(ToHost(y), expected, Epsilon(t));
}

// ---- losses: the loss of each is checked against `loss(row, gradient row)` in float64
struct LossResult {
  LossSums sums;
  Floats gradient;
};

// What add(sums) adds in device memory; sums are added to, not written.
template <class F>
LossSums SumsOf(Device* device, const F& add) {
  LossSums sums{2, 3};
  const Tensor on_device(device, Dtype::kU8, {sizeof(sums)});
  on_device.Upload(&sums);
  add(static_cast<LossSums*>(on_device.data()));
  on_device.Download(&sums);
  return {sums.loss - 2, sums.correct - 3};
}

inline LossResult CheckSoftmax(Device* device, int64_t rows, int64_t cols, float range,
                               float smoothing = 0) {
  CAPTURE(rows, cols, range, smoothing);
  Floats x = Random(rows * cols, range, 1);
  std::vector<int32_t> labels(rows);
  for (int64_t r = 0; r < rows; ++r) labels[r] = static_cast<int32_t>(r * 7919 % cols);
  x[0 * cols + labels[0]] = 2 * range;  // one row that is right
  const Tensor tx = ToDevice(device, Dtype::kF32, {rows, cols}, &x);
  const Tensor tl(device, Dtype::kI32, {rows});
  tl.Upload(labels.data());
  Doubles gradient(rows * cols), log_softmax(rows * cols);
  std::vector<int32_t> best(rows);
  LossSums expected;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = &x[r * cols];
    const int64_t top = std::max_element(row, row + cols) - row;
    double sum = 0;
    for (int64_t i = 0; i < cols; ++i) sum += std::exp(double{row[i]} - row[top]);
    for (int64_t i = 0; i < cols; ++i) {
      log_softmax[r * cols + i] = row[i] - row[top] - std::log(sum);
      const double rest = double{smoothing} / static_cast<double>(cols);
      const double target = rest + (i == labels[r] ? 1.0 - smoothing : 0.0);
      gradient[r * cols + i] = 0.25 * (std::exp(log_softmax[r * cols + i]) - target);
      if (target > 0) expected.loss -= target * log_softmax[r * cols + i];
    }
    expected.correct += top == labels[r];
    best[r] = static_cast<int32_t>(top);
  }
  const Tensor y(device, Dtype::kF32, {rows, cols}), index(device, Dtype::kI32, {rows});
  device->LogSoftmax(tx.f32(), y.f32(), rows, cols);
  RequireNear(ToHost(y), log_softmax, 1e-6);
  device->ArgMax(tx.f32(), index.i32(), rows, cols);
  std::vector<int32_t> found(rows);
  index.Download(found.data());
  REQUIRE(found == best);
  const auto loss = [&](float* g) {
    return SumsOf(device, [&](LossSums* sums) {
      device->SoftmaxCrossEntropy(tx.f32(), tl.i32(), g, 0.25f, rows, cols, smoothing, sums);
    });
  };
  const LossSums only = loss(nullptr);
  LossResult result;
  result.sums = loss(tx.f32());
  result.gradient = ToHost(tx);
  REQUIRE(std::abs(result.sums.loss - expected.loss) <= 1e-6 * (1 + expected.loss));
  REQUIRE(result.sums.correct == expected.correct);
  REQUIRE(only.loss == result.sums.loss);
  REQUIRE(only.correct == result.sums.correct);
  RequireNear(result.gradient, gradient, 1e-6);
  return result;
}

// Parts of the classes, of different sizes, make the loss and the gradients of all classes.
inline void CheckSplitSoftmax(Device* device, float smoothing) {
  const int64_t rows = 9, cols = 103;
  const std::vector<int64_t> cuts = {0, 1, 40, cols};
  const int parts = static_cast<int>(cuts.size()) - 1;
  constexpr int64_t kSummary = SplitSoftmaxOp::kSummary;
  Floats x = Random(rows * cols, 9, 3);
  x[5] = x[50] = x[51] = 20;  // row 0: the first of equals, and another part's
  const Tensor tx = ToDevice(device, Dtype::kF32, {rows, cols}, &x);
  const std::vector<int32_t> labels = {50, 0, 1, 39, 40, 102, 7, 0, 60};
  const Tensor tl(device, Dtype::kI32, {rows}), whole(device, Dtype::kF32, {rows, cols});
  tl.Upload(labels.data());
  const LossSums expected = SumsOf(device, [&](LossSums* sums) {
    device->SoftmaxCrossEntropy(tx.f32(), tl.i32(), whole.f32(), 0.5f, rows, cols, smoothing, sums);
  });
  std::vector<std::unique_ptr<SplitSoftmaxOp>> ops;
  std::vector<Tensor> logits;
  const Tensor all(device, Dtype::kF32, {rows, parts, kSummary});
  for (int p = 0; p < parts; ++p) {
    const int64_t n = cuts[p + 1] - cuts[p];
    ops.push_back(device->MakeSplitSoftmax({rows, cuts[p], n, cols, parts, smoothing}));
    logits.emplace_back(device, Dtype::kF32, Shape{rows, n});
    device->CopyColumns(tx.data(), cols, cuts[p], logits[p].data(), n, 0, rows, n, Dtype::kF32);
    const Tensor summary(device, Dtype::kF32, {rows, kSummary});
    ops[p]->Summarize(logits[p].f32(), tl.i32(), summary.f32(), rows);
    device->CopyColumns(summary.data(), kSummary, 0, all.data(), parts * kSummary, p * kSummary,
                        rows, kSummary, Dtype::kF32);
  }
  for (int p = 0; p < parts; ++p) {
    const int64_t n = cuts[p + 1] - cuts[p];
    const Tensor gradient(device, Dtype::kF32, {rows, n}), part(device, Dtype::kF32, {rows, n});
    const LossSums sums = SumsOf(device, [&](LossSums* to) {
      ops[p]->Loss(logits[p].f32(), tl.i32(), all.f32(), gradient.f32(), 0.5f, rows, to);
    });
    REQUIRE(sums.correct == expected.correct);
    REQUIRE(std::abs(sums.loss - expected.loss) <= 1e-6 * expected.loss);
    device->CopyColumns(whole.data(), cols, cuts[p], part.data(), n, 0, rows, n, Dtype::kF32);
    const Floats wanted = ToHost(part);
    RequireNear(ToHost(gradient), Doubles(wanted.begin(), wanted.end()), 1e-6);
  }
}

// The first of equal outputs is the answer; a NaN or an infinity shows in the loss.
inline void CheckSoftmaxCorners(Device* device) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto run = [&](Floats x, int32_t label) {
    const int64_t cols = static_cast<int64_t>(x.size());
    const Tensor tx = ToDevice(device, Dtype::kF32, {1, cols}, &x);
    const Tensor tl(device, Dtype::kI32, {1});
    tl.Upload(&label);
    return SumsOf(device, [&](LossSums* sums) {
      device->SoftmaxCrossEntropy(tx.f32(), tl.i32(), tx.f32(), 1, 1, cols, 0, sums);
    });
  };
  REQUIRE(run({1, 1, 1}, 0).correct == 1);
  REQUIRE(run({1, 1, 1}, 1).correct == 0);
  REQUIRE(run({-infinity, 5, -infinity}, 1).loss == 0);
  REQUIRE(run({0, -infinity}, 1).loss == infinity);
  for (const size_t at : {0, 3, 70}) {
    Floats x(71, 0.5f);
    x[at] = std::numeric_limits<float>::quiet_NaN();
    REQUIRE(std::isnan(run(x, 5).loss));
  }
}

inline LossResult CheckPairwiseLoss(Device* device, bool logistic, int64_t rows, int64_t cols) {
  CAPTURE(logistic, rows, cols);
  Floats x = Random(rows * cols, 6, 1), target = Random(rows * cols, 0.5f, 2);
  for (float& t : target) t += 0.5f;
  const Tensor tx = ToDevice(device, Dtype::kF32, {rows, cols}, &x);
  const Tensor tt = ToDevice(device, Dtype::kF32, {rows, cols}, &target);
  Doubles gradient;
  LossSums expected;
  for (int64_t r = 0; r < rows; ++r) {
    bool all = true;
    for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
      const double z = x[i], t = target[i], p = 1 / (1 + std::exp(-z));
      expected.loss +=
          logistic ? -t * std::log(p) - (1 - t) * std::log1p(-p) : 0.5 * (z - t) * (z - t);
      gradient.push_back(0.25 * ((logistic ? p : z) - t));
      all = all && (z > 0) == (t > 0.5);
    }
    expected.correct += logistic && all;
  }
  const auto loss = [&](float* g) {
    return SumsOf(device, [&](LossSums* sums) {
      logistic ? device->Logistic(tx.f32(), tt.f32(), g, 0.25f, rows, cols, sums)
               : device->SquaredError(tx.f32(), tt.f32(), g, 0.25f, rows, cols, sums);
    });
  };
  const LossSums only = loss(nullptr);
  LossResult result{loss(tx.f32()), ToHost(tx)};
  REQUIRE(std::abs(result.sums.loss - expected.loss) <= 1e-6 * (1 + expected.loss));
  REQUIRE(result.sums.correct == expected.correct);
  REQUIRE(only.loss == result.sums.loss);
  RequireNear(result.gradient, gradient, 1e-6);
  return result;
}

// ---- parameters
// Some steps of an optimizer against the same in float64.
inline Floats CheckUpdate(Device* device, OptimizerStep step, int64_t n) {
  CAPTURE(static_cast<int>(step.kind), step.momentum, step.nesterov, n);
  Floats w = Random(n, 1, 1), zero(n, 0.0f);
  const Tensor tw = ToDevice(device, Dtype::kF32, {n}, &w), w16(device, Dtype::kBF16, {n});
  const Tensor s0(device, Dtype::kF32, {n}), s1(device, Dtype::kF32, {n});
  Doubles w64(w.begin(), w.end()), m(n, 0.0), v(n, 0.0);
  for (int t = 1; t <= 4; ++t) {
    Floats g = Random(n, 1, 10 + t);
    const Tensor tg = ToDevice(device, Dtype::kF32, {n}, &g);
    const double bias1 = 1 - std::pow(step.beta1, t), bias2 = 1 - std::pow(step.beta2, t);
    step.bias1 = static_cast<float>(bias1);
    step.bias2 = static_cast<float>(bias2);
    device->Update(step, tg.f32(), tw.f32(), w16.bf16(), s0.f32(), s1.f32(), n);
    for (int64_t i = 0; i < n; ++i) {
      const double sign = w64[i] > 0 ? 1 : w64[i] < 0 ? -1 : 0;
      const double p = g[i] * step.gradient_scale + step.l2 * w64[i] + step.l1 * sign;
      double d = p;
      if (step.kind == OptimizerKind::kSgd) {
        m[i] = step.momentum * m[i] + p;
        d = step.nesterov ? p + step.momentum * m[i] : m[i];
      } else if (step.kind == OptimizerKind::kAdaGrad) {
        m[i] += p * p;
        d = p / (std::sqrt(m[i]) + step.epsilon);
      } else {
        m[i] = step.beta1 * m[i] + (1 - step.beta1) * p;
        v[i] = step.beta2 * v[i] + (1 - step.beta2) * p * p;
        d = m[i] / bias1 / (std::sqrt(v[i] / bias2) + step.epsilon);
      }
      w64[i] -= step.learning_rate * (step.weight_decay * w64[i] + d);
    }
  }
  Floats result = ToHost(tw);
  RequireNear(result, w64, 3e-6);
  Floats rounded = result;
  for (float& x : rounded) x = formulas::FromBf16(formulas::ToBf16(x));
  REQUIRE(ToHost(w16) == rounded);
  return result;
}

inline double CheckSumOfSquares(Device* device, int64_t n) {
  CAPTURE(n);
  Floats x = Random(n, 3, 1);
  double expected = 0;
  for (const float v : x) expected += double{v} * v;
  const Tensor tx = ToDevice(device, Dtype::kF32, {n}, &x);
  const double sum = device->SumOfSquares(tx.f32(), n);
  REQUIRE(std::abs(sum - expected) <= 1e-12 * expected);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    x[n - 1] = bad;
    tx.Upload(x.data());
    REQUIRE_FALSE(std::isfinite(device->SumOfSquares(tx.f32(), n)));
  }
  return sum;
}

}  // namespace mariana::device_cases
