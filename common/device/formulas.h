// The element-wise mathematics of every back end, once: pure functions of a few floats, without
// branches, so that gcc vectorises loops over them and nvcc compiles them for the device.
//
// Accuracy (checked against float64 by tests/common/device): relative error at most 1e-6 for Exp,
// Sigmoid, Tanh and Log. NaN goes through every one of them. Thread-safe: no state.
// Sources: Cody-Waite range reduction and minimax polynomials as in Cephes (expf, logf, tanhf).
#pragma once

#include <cstdint>

#include "common/base/random.h"
#include "common/device/device.h"

namespace mariana::formulas {

MARIANA_HOST_DEVICE inline float FromBits(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

MARIANA_HOST_DEVICE inline uint32_t ToBits(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}

MARIANA_HOST_DEVICE inline float Max(float a, float b) { return a > b ? a : b; }
MARIANA_HOST_DEVICE inline float Abs(float x) { return FromBits(ToBits(x) & 0x7FFFFFFFu); }

// ---- bf16: the upper half of an fp32
MARIANA_HOST_DEVICE inline float FromBf16(uint16_t x) { return FromBits(uint32_t{x} << 16); }

// To nearest, ties to even; a NaN stays one.
MARIANA_HOST_DEVICE inline uint16_t ToBf16(float x) {
  const uint32_t bits = ToBits(x);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return static_cast<uint16_t>(x == x ? rounded : nan);
}

// ---- transcendental functions
// 0 below -87.3, infinity above 88.3.
MARIANA_HOST_DEVICE inline float Exp(float x) {
  constexpr float kLow = -87.3f, kHigh = 88.3f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  float c = x < kLow ? kLow : x;
  c = c > kHigh ? kHigh : c;
  const float shifted = c * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  float r = c - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scale = FromBits((ToBits(shifted) << 23) + 0x3F800000u);
  const float y = p * scale;
  const float low = x < kLow ? 0.0f : y;
  return x > kHigh ? __builtin_inff() : low;
}

// Natural logarithm for x = 0 (-infinity), normal x > 0, infinity; NaN below 0.
MARIANA_HOST_DEVICE inline float Log(float x) {
  const uint32_t bits = ToBits(x);
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2))
  const uint32_t shifted = bits - 0x3F3504F3u;
  const float e = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float f = FromBits((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
  const float z = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float y = p * f * z;
  y = y + e * -2.12194440e-4f - 0.5f * z;
  y = f + y + e * 0.693359375f;
  y = x == 0.0f ? -__builtin_inff() : y;
  y = x == __builtin_inff() ? x : y;
  return x >= 0.0f ? y : __builtin_nanf("");
}

// log(1 + x) for x >= 0, accurate for small x.
MARIANA_HOST_DEVICE inline float Log1p(float x) {
  const float u = 1.0f + x;
  const float d = u - 1.0f;
  const float y = Log(u) * (x / (d == 0.0f ? 1.0f : d));
  return d == 0.0f ? x : y;
}

MARIANA_HOST_DEVICE inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

MARIANA_HOST_DEVICE inline float Tanh(float x) {
  const float a = Abs(x);
  const float large = 1.0f - 2.0f / (Exp(2.0f * a) + 1.0f);
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * x + x;
  const float sign = x < 0.0f ? -large : large;
  return a < 0.625f ? small : sign;
}

// ---- activations: Apply(x), and Slope(y), the derivative at the output y
template <Activation a>
MARIANA_HOST_DEVICE inline float Apply(float x) {
  if constexpr (a == Activation::kSigmoid) return Sigmoid(x);
  if constexpr (a == Activation::kTanh) return Tanh(x);
  if constexpr (a == Activation::kRelu) return x < 0.0f ? 0.0f : x;
  return x;
}

template <Activation a>
MARIANA_HOST_DEVICE inline float Slope(float y) {
  if constexpr (a == Activation::kSigmoid) return y * (1.0f - y);
  if constexpr (a == Activation::kTanh) return 1.0f - y * y;
  if constexpr (a == Activation::kRelu) return y > 0.0f ? 1.0f : 0.0f;
  return 1.0f;
}

MARIANA_HOST_DEVICE inline float LeakyRelu(float x, float slope) {
  return x > 0.0f ? x : slope * x;
}
MARIANA_HOST_DEVICE inline float LeakyReluSlope(float y, float slope) {
  return y > 0.0f ? 1.0f : slope;
}

// A cross network's step (Wang et al. 2021): x0 * (W x + b) + x.
MARIANA_HOST_DEVICE inline float MultiplyAdd(float a, float b, float c) { return a * b + c; }

// x * P(x^2) / Q(x^2) on [-4, 4], where it reaches +-1 (as in Eigen). Within 5e-7.
MARIANA_HOST_DEVICE inline float Erf(float x) {
  float c = x < -4.0f ? -4.0f : x;
  c = c > 4.0f ? 4.0f : c;
  const float z = c * c;
  float p = -2.72614225801306e-10f;
  p = p * z + 2.77068142495902e-08f;
  p = p * z - 2.10102402082508e-06f;
  p = p * z - 5.69250639462346e-05f;
  p = p * z - 7.34990630326855e-04f;
  p = p * z - 2.95459980854025e-03f;
  p = p * z - 1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * z - 2.13374055278905e-04f;
  q = q * z - 1.68282697438203e-03f;
  q = q * z - 7.37332916720468e-03f;
  q = q * z - 1.42647390514189e-02f;
  return c * p / q;
}

// x times the normal distribution function at x, and its derivative at x.
MARIANA_HOST_DEVICE inline float NormalBelow(float x) {
  return 0.5f + 0.5f * Erf(x * 0.70710678118654752f);
}
MARIANA_HOST_DEVICE inline float Gelu(float x) { return x * NormalBelow(x); }
MARIANA_HOST_DEVICE inline float GeluSlope(float x) {
  return NormalBelow(x) + x * 0.39894228040143268f * Exp(-0.5f * x * x);
}

// ---- losses
// Binary cross-entropy of logit z against target t, and its derivative.
MARIANA_HOST_DEVICE inline float LogisticLoss(float z, float t) {
  return Max(z, 0.0f) - z * t + Log1p(Exp(-Abs(z)));
}
MARIANA_HOST_DEVICE inline float LogisticSlope(float z, float t) { return Sigmoid(z) - t; }

// ---- dropout: word i % 4 of Philox block i / 4 decides sample-column index i
MARIANA_HOST_DEVICE inline bool Keep(uint32_t bits, float rate) { return ToUnit(bits) >= rate; }

// ---- optimizers: one element. State goes through references.
// The gradient with clipping and the L1 and L2 penalties.
MARIANA_HOST_DEVICE inline float Penalized(const OptimizerStep& s, float g, float w) {
  const float sign = w > 0.0f ? 1.0f : w < 0.0f ? -1.0f : 0.0f;
  return g * s.gradient_scale + s.l2 * w + s.l1 * sign;
}

// SGD as in PyTorch: m = momentum * m + g; step along m, or along g + momentum * m (Nesterov).
template <bool nesterov>
MARIANA_HOST_DEVICE inline float SgdMomentum(const OptimizerStep& s, float g, float w, float* m) {
  const float p = Penalized(s, g, w);
  *m = s.momentum * *m + p;
  const float d = nesterov ? p + s.momentum * *m : *m;
  return w - s.learning_rate * d;
}

MARIANA_HOST_DEVICE inline float Sgd(const OptimizerStep& s, float g, float w) {
  return w - s.learning_rate * Penalized(s, g, w);
}

// Duchi et al. 2011.
MARIANA_HOST_DEVICE inline float AdaGrad(const OptimizerStep& s, float g, float w, float* sum) {
  const float p = Penalized(s, g, w);
  *sum = *sum + p * p;
  return w - s.learning_rate * p / (__builtin_sqrtf(*sum) + s.epsilon);
}

// Kingma and Ba 2015; decoupled decay as in Loshchilov and Hutter 2019. The scalars that depend
// on the step alone.
struct AdamScalars {
  float beta1, rest1, beta2, rest2, rate, inverse_root_bias2, keep;
};
MARIANA_HOST_DEVICE inline AdamScalars MakeAdamScalars(const OptimizerStep& s) {
  return {static_cast<float>(s.beta1),
          static_cast<float>(1.0 - s.beta1),
          static_cast<float>(s.beta2),
          static_cast<float>(1.0 - s.beta2),
          s.learning_rate / s.bias1,
          1.0f / __builtin_sqrtf(s.bias2),
          1.0f - s.learning_rate * s.weight_decay};
}
MARIANA_HOST_DEVICE inline float Adam(const OptimizerStep& s, const AdamScalars& a, float g,
                                      float w, float* m, float* v) {
  const float p = Penalized(s, g, w);
  *m = a.beta1 * *m + a.rest1 * p;
  *v = a.beta2 * *v + a.rest2 * p * p;
  return w * a.keep - a.rate * *m / (__builtin_sqrtf(*v) * a.inverse_root_bias2 + s.epsilon);
}

// ---- softmax over classes in parts: what a row's summaries (SplitSoftmaxOp) make together
struct SplitRow {
  float max;
  double sum;       // of exp(x - max) over all classes
  double expected;  // of the logits under the smoothed target
  bool correct;     // the label is the first of the largest
};

// A part's maximum, sum of exp(x - maximum), output at the label (0 where it is another part's),
// sum of x, and where the label stands: 0 elsewhere, 1 here, 2 here and first of all.
MARIANA_HOST_DEVICE inline SplitRow MergeParts(const float* summaries, int parts, int64_t whole,
                                               float smoothing) {
  const auto of = [=](int part) { return summaries + part * SplitSoftmaxOp::kSummary; };
  SplitRow row{of(0)[0], 0, 0, false};
  for (int p = 1; p < parts; ++p) row.max = Max(of(p)[0], row.max);
  double at_label = 0, all = 0;
  bool above = false;  // a part before the label's has the maximum already
  for (int p = 0; p < parts; ++p) {
    const float* s = of(p);
    row.sum += s[1] * double{Exp(s[0] - row.max)};
    at_label += s[2];
    all += s[3];
    if (s[4] == 2) row.correct = s[0] == row.max && !above;
    above = above || s[0] == row.max;
  }
  row.expected = at_label;
  if (smoothing > 0) row.expected += smoothing * (all / static_cast<double>(whole) - at_label);
  return row;
}

}  // namespace mariana::formulas
