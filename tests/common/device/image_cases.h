// Cases of pooling, local response normalisation, GELU and leaky ReLU, on any device, against
// float64.
#pragma once

#include <limits>

#include "tests/common/device/values.h"

namespace mariana::device_cases {

// ---- pooling
// y, and dx for dy, in float64. The first of equal pixels is the largest; scale as in PyTorch.
inline void PoolReference(const PoolSpec& s, int64_t rows, const Floats& x, const Floats& dy,
                          Doubles* y, Doubles* dx) {
  const Window& w = s.window;
  y->assign(rows * s.out.elements(), 0.0);
  dx->assign(rows * s.in.elements(), 0.0);
  for (int64_t o = 0; o < rows * s.out.elements(); ++o) {
    const int64_t c = o % s.out.channels, ow = o / s.out.channels % s.out.width;
    const int64_t oh = o / (s.out.channels * s.out.width) % s.out.height;
    const int64_t n = o / s.out.elements();
    const int64_t top = oh * w.stride_h - w.top, left = ow * w.stride_w - w.left;
    const auto at = [&](int64_t h, int64_t v) {
      return ((n * s.in.height + h) * s.in.width + v) * s.in.channels + c;
    };
    std::vector<int64_t> inside;
    int64_t counted = 0;
    for (int64_t h = top; h < top + w.kernel_h; ++h) {
      for (int64_t v = left; v < left + w.kernel_w; ++v) {
        const bool real = h >= 0 && h < s.in.height && v >= 0 && v < s.in.width;
        if (real) inside.push_back(at(h, v));
        counted +=
            real || (s.count_padding && h < s.in.height + w.bottom && v < s.in.width + w.right);
      }
    }
    if (s.kind == PoolKind::kMax) {
      int64_t best = inside[0];
      for (const int64_t i : inside) best = x[i] > x[best] ? i : best;
      (*y)[o] = x[best];
      (*dx)[best] += dy[o];
    } else {
      for (const int64_t i : inside) {
        (*y)[o] += double{x[i]} / static_cast<double>(counted);
        (*dx)[i] += double{dy[o]} / static_cast<double>(counted);
      }
    }
  }
}

inline void CheckPool(Device* device, PoolSpec s, int64_t rows) {
  CAPTURE(s.kind == PoolKind::kMax, s.count_padding, Name(s.dtype), s.in.channels);
  CAPTURE(s.window.kernel_h, s.window.stride_h, s.window.top, s.out.height);
  s.max_rows = rows;
  Floats x = Random(rows * s.in.elements(), 1, 1), dy = Random(rows * s.out.elements(), 1, 2);
  for (size_t i = 0; i < x.size(); i += 3) x[i] = 0.5f;  // equal pixels
  const Tensor tx = ToDevice(device, s.dtype, {rows * s.in.elements()}, &x);
  const Tensor tdy = ToDevice(device, s.dtype, {rows * s.out.elements()}, &dy);
  const Tensor ty(device, s.dtype, tdy.shape());
  const Tensor tdx = ToDevice(device, s.dtype, tx.shape(), &x);  // to be overwritten
  const std::unique_ptr<PoolOp> op = device->MakePool(s);
  const Tensor saved(device, Dtype::kU8, {op->saved_bytes() + 1});
  op->Forward(tx.data(), ty.data(), saved.data(), rows);
  op->Backward(tdy.data(), saved.data(), tdx.data(), rows);
  Doubles y, dx;
  PoolReference(s, rows, x, dy, &y, &dx);
  RequireNear(ToHost(ty), y, Epsilon(s.dtype));
  RequireNear(ToHost(tdx), dx, 2 * Epsilon(s.dtype));
}

// A NaN is the largest.
inline void CheckPoolNan(Device* device) {
  PoolSpec s;
  s.max_rows = 1;
  s.in = {2, 2, 1};
  s.out = {1, 1, 1};
  s.window.kernel_h = s.window.kernel_w = 2;
  const std::unique_ptr<PoolOp> op = device->MakePool(s);
  const Tensor y(device, Dtype::kF32, {1}), saved(device, Dtype::kU8, {op->saved_bytes()});
  for (int at = 0; at < 4; ++at) {
    Floats x(4, 1.0f);
    x[at] = std::numeric_limits<float>::quiet_NaN();
    op->Forward(ToDevice(device, Dtype::kF32, {4}, &x).data(), y.data(), saved.data(), 1);
    REQUIRE(std::isnan(ToHost(y)[0]));
  }
}

// ---- local response normalisation
inline Doubles LrnReference(const LrnSpec& s, const Doubles& x, int64_t channels) {
  Doubles y(x.size());
  for (int64_t i = 0; i < static_cast<int64_t>(x.size()); ++i) {
    const int64_t c = i % channels;
    double sum = 0;
    for (int64_t j = c - s.size / 2; j <= c + (s.size - 1) / 2; ++j) {
      if (j >= 0 && j < channels) sum += x[i - c + j] * x[i - c + j];
    }
    y[i] = x[i] * std::pow(s.k + s.alpha / static_cast<double>(s.size) * sum, -double{s.beta});
  }
  return y;
}

// Of sum(dy * f(x)), by differences in float64.
template <class F>
Doubles Differences(const Floats& x, const Floats& dy, const F& f) {
  Doubles at(x.begin(), x.end()), gradient;
  for (size_t i = 0; i < x.size(); ++i) {
    double sums[2] = {0, 0};
    for (int side = 0; side < 2; ++side) {
      at[i] = x[i] + (side ? 1e-5 : -1e-5);
      const Doubles y = f(at);
      for (size_t j = 0; j < y.size(); ++j) sums[side] += dy[j] * y[j];
    }
    at[i] = x[i];
    gradient.push_back((sums[1] - sums[0]) / 2e-5);
  }
  return gradient;
}

inline void CheckLrn(Device* device, const LrnSpec& s, int64_t channels, Dtype t) {
  CAPTURE(s.size, channels, Name(t));
  const int64_t pixels = 7, n = pixels * channels;
  Floats x = Random(n, 4, 1), dy = Random(n, 1, 2);
  const Tensor tx = ToDevice(device, t, {n}, &x), tdy = ToDevice(device, t, {n}, &dy);
  const Tensor ty(device, t, {n}), tdx(device, t, {n});
  device->Lrn(s, tx.data(), ty.data(), pixels, channels, t);
  device->LrnBackward(s, tx.data(), tdy.data(), tdx.data(), pixels, channels, t);
  const auto f = [&](const Doubles& v) { return LrnReference(s, v, channels); };
  RequireNear(ToHost(ty), f(Doubles(x.begin(), x.end())), Epsilon(t));
  RequireNear(ToHost(tdx), Differences(x, dy, f), t == Dtype::kF32 ? 1e-5 : Epsilon(t));
}

// ---- activations with a parameter, and of the input
inline void CheckLeakyRelu(Device* device, Dtype t, int64_t n) {
  Floats x = Random(n, 8, 1), dy = Random(n, 8, 2);
  const Tensor tx = ToDevice(device, t, {n}, &x), dx = ToDevice(device, t, {n}, &dy);
  const Tensor y(device, t, {n});
  device->LeakyRelu(tx.data(), y.data(), 0.125f, n, t);
  device->LeakyReluBackward(y.data(), dx.data(), dx.data(), 0.125f, n, t);
  Doubles expected, gradient;
  for (int64_t i = 0; i < n; ++i) {
    expected.push_back(x[i] > 0 ? x[i] : 0.125 * x[i]);
    gradient.push_back(x[i] > 0 ? dy[i] : 0.125 * dy[i]);
  }
  RequireNear(ToHost(y), expected, Epsilon(t));
  RequireNear(ToHost(dx), gradient, Epsilon(t));
}

inline void CheckGelu(Device* device, Dtype t, int64_t n) {
  Floats x = Random(n, 8, 1), dy = Random(n, 8, 2);
  const Tensor tx = ToDevice(device, t, {n}, &x), dx = ToDevice(device, t, {n}, &dy);
  const Tensor y(device, t, {n});
  device->Gelu(tx.data(), y.data(), n, t);
  device->GeluBackward(tx.data(), dx.data(), dx.data(), n, t);
  Doubles expected, gradient;
  for (int64_t i = 0; i < n; ++i) {
    const double z = x[i], below = 0.5 * std::erfc(-z / std::sqrt(2.0));
    expected.push_back(z * below);
    gradient.push_back(dy[i] *
                       (below + z * std::exp(-z * z / 2) / std::sqrt(2 * 3.14159265358979)));
  }
  RequireNear(ToHost(y), expected, Epsilon(t));
  RequireNear(ToHost(dx), gradient, Epsilon(t));
}

}  // namespace mariana::device_cases
