// CheckLayer: what every layer must do, given its YAML.
//   - Backward equals central differences of a scalar loss, for its input and its parameters;
//   - under bf16 compute, outputs and gradients are close to fp32's (where the CPU has bf16);
//   - parameters survive the way into the arena's layout and back.
//
// The net is [probe, layer]: probe is a linear layer on one-hot rows, so its weight is the layer's
// input, transposed, and the gradient of that weight is the gradient of the layer's input. For an
// image it is a 1x1 convolution on pixels that are one-hot over all pixels of all rows.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/nn/layer.h"
#include "tests/common/nn/net_rig.h"

namespace mariana {

class LayerCheck {
 public:
  // `image`: of the layer's input; scalar: 6 columns.
  LayerCheck(Device* device, const std::string& layer, const Shape& image = {},
             Dtype compute = Dtype::kF32)
      : rows_(image.rank() == 3 ? 4 : 7),
        rig_(device, Yaml(layer, image), Options(image, compute)),
        step_(TrainStep(rows_)) {
    RandomSequence random(5, 0);
    for (size_t i = 0; i < rig_->params().size(); ++i) {
      std::vector<float> w = rig_.Param(static_cast<int>(i));
      for (float& v : w) v += 0.6f * random.Normal();
      rig_.SetParam(static_cast<int>(i), w);
    }
    targets_.resize(rows_ * rig_->output_shape().elements());
    for (float& v : targets_) v = random.Normal();
    const int64_t n = rows_ * PixelsOf(image);
    one_hot_.resize(n * n);
    for (int64_t i = 0; i < n; ++i) one_hot_[i * (n + 1)] = 1;
  }

  // Mean over rows of half the squared distance, in float64.
  double Loss() {
    double sum = 0;
    const std::vector<float> y = rig_.Forward(step_, one_hot_);
    for (size_t i = 0; i < y.size(); ++i) sum += 0.5 * std::pow(double{y[i]} - targets_[i], 2);
    return sum / static_cast<double>(rows_);
  }

  std::vector<std::vector<float>> Gradients() {
    rig_.Forward(step_, one_hot_);
    rig_.Loss(step_, targets_);
    rig_.Backward(step_);
    std::vector<std::vector<float>> all;
    for (size_t i = 0; i < rig_->params().size(); ++i) {
      all.push_back(rig_.Grad(static_cast<int>(i)));
    }
    return all;
  }

  std::vector<float> Outputs() { return rig_.Forward(step_, one_hot_); }

  void CompareWithDifferences() {
    const auto gradients = Gradients();
    for (size_t i = 0; i < gradients.size(); ++i) {
      INFO("parameter " << rig_->params()[i].name);
      const std::vector<float> w = rig_.Param(static_cast<int>(i));
      for (size_t k = 0; k < w.size(); ++k) {
        INFO("element " << k);
        CheckSlope(static_cast<int>(i), w, k, gradients[i][k]);
      }
      rig_.SetParam(static_cast<int>(i), w);
    }
  }

  void CheckRoundTrip() {
    RandomSequence random(9, 0);
    for (int i = 0; i < static_cast<int>(rig_->params().size()); ++i) {
      const ParamInfo& p = rig_->params()[i];
      INFO("parameter " << p.name);
      std::vector<float> plain(p.shape.elements()), back(plain.size());
      for (float& v : plain) v = random.Normal();
      std::vector<float> slot(p.elements, std::nanf(""));
      rig_->PackParam(i, plain.data(), slot.data());
      rig_->UnpackParam(i, slot.data(), back.data());
      CHECK(back == plain);
      CHECK(std::none_of(slot.begin(), slot.end(), [](float v) { return std::isnan(v); }));
      CHECK(p.offset % 16 == 0);
      CHECK(p.elements % 16 == 0);
    }
  }

 private:
  static std::string Yaml(const std::string& layer, const Shape& image) {
    const std::string probe = image.rank() == 3
                                  ? StrCat("type: conv, kernel: 1, channels: ", image[2])
                                  : "type: linear, units: 6";
    return "loss: squared_error\ngroup: 3\nlayers:\n- {name: probe, bias: false, " + probe +
           "}\n- " + layer + "\n";
  }
  RigOptions Options(const Shape& image, Dtype compute) const {
    if (image.rank() != 3) return {rows_, rows_, 0, compute, true};
    const Shape one_hot{image[0], image[1], rows_ * image[0] * image[1]};
    return {rows_, 0, 0, compute, true, one_hot};
  }

  // The loss is smooth but for kinks (relu, max): where one is near, it is on one side of the
  // point, and the other side tells the slope (by three points, to the same order).
  void CheckSlope(int i, std::vector<float> w, size_t k, double gradient) {
    const float x = w[k], h = 4e-3f;
    const auto loss_at = [&](float value) {
      w[k] = value;
      rig_.SetParam(i, w);
      return Loss();
    };
    const auto near = [](double slope) { return Approx(slope).epsilon(2e-3).margin(5e-4); };
    const double left = loss_at(x - h), right = loss_at(x + h);
    const auto central = near((right - left) / (double{x + h} - double{x - h}));
    if (gradient == central) return;
    const double here = loss_at(x);
    for (const float side : {-h, h}) {
      const double half = loss_at(x + side / 2), whole = side < 0 ? left : right;
      if (gradient == near((4 * half - 3 * here - whole) / side)) return;
    }
    CHECK(gradient == central);
  }

  const int64_t rows_;  // in groups of 3, the last one of a single sample
  NetRig rig_;
  const StepContext step_;
  std::vector<float> one_hot_, targets_;
};

// |a - b| over |b|, as vectors.
inline double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 1e-12;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

// Whether the device computes in bf16; if not, it says so.
inline bool CanBf16(Device* device) {
  try {
    NetRig rig(device, "layers: [{type: linear, units: 40}]", {4, 6, 0, Dtype::kBF16, true});
    return true;
  } catch (const Error& e) {
    CHECK(!device->info().native_bf16);
    CHECK_THAT(e.message(), Catch::Contains("linear1") && Catch::Contains("bf16"));
    return false;
  }
}

inline void CheckLayer(const std::string& layer, const Shape& image = {}) {
  INFO(layer);
  const auto device = MakeCpuDevice(0, 1, -1);
  LayerCheck check(device.get(), layer, image);
  check.CompareWithDifferences();
  check.CheckRoundTrip();
  if (!CanBf16(device.get())) return;
  LayerCheck bf16(device.get(), layer, image, Dtype::kBF16);
  CHECK(RelativeDistance(bf16.Outputs(), check.Outputs()) < 0.03);
  const auto a = bf16.Gradients(), b = check.Gradients();
  for (size_t i = 0; i < a.size(); ++i) {
    INFO("bf16 gradient " << i);
    CHECK(RelativeDistance(a[i], b[i]) < 0.1);
  }
}

// Building a net of these layers on 6 inputs, or an image, fails, and the message has all of
// `words`.
inline void CheckRefused(const std::string& layers, const std::vector<std::string>& words,
                         const Shape& image = {}) {
  const auto device = MakeCpuDevice(0, 1, -1);
  try {
    NetRig rig(device.get(), "layers: " + layers + "\n", {4, 6, 0, Dtype::kF32, true, image});
    FAIL("accepted " << layers);
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kUsage);
    for (const std::string& word : words) CHECK_THAT(e.message(), Catch::Contains(word));
  }
}

}  // namespace mariana
