// What the device cases share: random values, tensors of either float type, comparison.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "common/base/random.h"
#include "common/device/device.h"
#include "common/device/formulas.h"
#include "common/tensor/tensor.h"

namespace mariana::device_cases {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

inline Floats Random(int64_t n, float range, uint64_t stream) {
  RandomSequence random(7, stream);
  Floats v(n);
  for (float& x : v) x = (2 * random.Uniform() - 1) * range;
  return v;
}

// As a tensor of type t; the values become what t can hold.
inline Tensor ToDevice(Device* device, Dtype t, const Shape& shape, Floats* values) {
  Tensor tensor(device, t, shape);
  if (t == Dtype::kF32) {
    tensor.Upload(values->data());
    return tensor;
  }
  std::vector<uint16_t> rounded;
  for (float& x : *values) {
    rounded.push_back(formulas::ToBf16(x));
    x = formulas::FromBf16(rounded.back());
  }
  tensor.Upload(rounded.data());
  return tensor;
}

inline Floats ToHost(const Tensor& tensor) {
  Floats values(tensor.elements());
  if (tensor.dtype() == Dtype::kF32) {
    tensor.Download(values.data());
    return values;
  }
  std::vector<uint16_t> half(tensor.elements());
  tensor.Download(half.data());
  for (size_t i = 0; i < half.size(); ++i) values[i] = formulas::FromBf16(half[i]);
  return values;
}

// Relative error of one rounding to t, doubled.
inline double Epsilon(Dtype t) { return t == Dtype::kBF16 ? 1.0 / 128 : 2e-6; }

// |actual - expected| <= tolerance * (1 + |expected|) everywhere. One assertion a vector.
inline void RequireNear(const Floats& actual, const Doubles& expected, double tolerance) {
  REQUIRE(actual.size() == expected.size());
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(actual[i] - expected[i]) / (1 + std::abs(expected[i]));
    if (!(error <= worst)) worst = error, at = i;
  }
  if (actual.empty()) return;
  INFO("element " << at << " is " << actual[at] << ", expected " << expected[at]);
  REQUIRE(worst <= tolerance);
}

inline void Append(const Floats& more, Floats* all) {
  all->insert(all->end(), more.begin(), more.end());
}

inline double Apply(Activation a, double x) {
  switch (a) {
    case Activation::kNone: return x;
    case Activation::kSigmoid: return 1 / (1 + std::exp(-x));
    case Activation::kTanh: return std::tanh(x);
    case Activation::kRelu: return x > 0 ? x : 0;
  }
  return 0;
}

inline double Slope(Activation a, double y) {
  switch (a) {
    case Activation::kNone: return 1;
    case Activation::kSigmoid: return y * (1 - y);
    case Activation::kTanh: return 1 - y * y;
    case Activation::kRelu: return y > 0 ? 1 : 0;
  }
  return 0;
}

}  // namespace mariana::device_cases
