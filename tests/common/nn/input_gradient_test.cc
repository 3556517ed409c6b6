#include "tests/common/nn/check_layer.h"

namespace mariana {
namespace {

using Floats = std::vector<float>;

constexpr int64_t kRows = 5, kInputs = 6;

Floats Noise(size_t n, uint64_t stream) {
  RandomSequence random(17, stream);
  Floats x(n);
  for (float& v : x) v = random.Normal();
  return x;
}

// A net of which the input's gradient is asked, on fixed data and parameters away from zero.
class Probe {
 public:
  Probe(Device* device, const std::string& layers, Dtype compute, const Shape& image = {})
      : rig(device, "loss: squared_error\ngroup: 2\nlayers: " + layers + "\n",
            {kRows, kInputs, 0, compute, true, image, true}),
        x(Noise(kRows * rig->options().input.elements(), 1)),
        targets(Noise(kRows * rig->output_shape().elements(), 2)) {
    for (size_t i = 0; i < rig->params().size(); ++i) {
      Floats w = rig.Param(static_cast<int>(i));
      const Floats noise = Noise(w.size(), 3 + i);
      for (size_t k = 0; k < w.size(); ++k) w[k] += 0.3f * noise[k];
      rig.SetParam(static_cast<int>(i), w);
    }
  }

  double Loss() {
    double sum = 0;
    const Floats y = rig.Forward(step, x);
    for (size_t i = 0; i < y.size(); ++i) sum += 0.5 * std::pow(double{y[i]} - targets[i], 2);
    return sum / static_cast<double>(kRows);
  }
  Floats Gradient() {
    rig.Forward(step, x);
    rig.Loss(step, targets);
    rig.Backward(step);
    return rig.InputGradient();
  }

  NetRig rig;
  Floats x, targets;
  const StepContext step = TrainStep(kRows);
};

void CheckInputGradient(const std::string& layers, const Shape& image = {}) {
  INFO(layers);
  const auto device = MakeCpuDevice(0, 1, -1);
  Probe probe(device.get(), layers, Dtype::kF32, image);
  const Floats gradient = probe.Gradient();
  REQUIRE(gradient.size() == probe.x.size());
  for (size_t i = 0; i < gradient.size(); ++i) {
    INFO("element " << i);
    const float kept = probe.x[i], h = 4e-3f;
    probe.x[i] = kept + h;
    const double above = probe.Loss();
    probe.x[i] = kept - h;
    const double below = probe.Loss();
    probe.x[i] = kept;
    const double slope = (above - below) / (double{kept + h} - double{kept - h});
    CHECK(gradient[i] == Approx(slope).epsilon(2e-3).margin(5e-4));
  }
  if (!CanBf16(device.get())) return;
  Probe narrow(device.get(), layers, Dtype::kBF16, image);
  CHECK(RelativeDistance(narrow.Gradient(), gradient) < 0.1);
}

}  // namespace

TEST_CASE("The input's gradient equals differences, whatever reads the input") {
  CheckInputGradient("[{type: linear, units: 1}]");
  CheckInputGradient("[{type: linear, units: 4, activation: tanh}, {type: linear, units: 1}]");
  // Without parameters; in place of the output's gradient.
  CheckInputGradient("[{type: sigmoid}, {type: tanh}]");
  CheckInputGradient("[{type: dropout, rate: 0.3}, {type: batch_norm}, {type: linear, units: 2}]");
  const std::string arms =
      "branches: [{layers: [{type: linear, units: 6, activation: tanh}, {type: linear, units: 6}]},"
      " {layers: []}, {layers: [{type: sigmoid}]}, {layers: []}]";
  CheckInputGradient("[{type: branch, join: concat, " + arms + "}, {type: linear, units: 1}]");
  CheckInputGradient("[{type: branch, join: add, " + arms + "}]");
  CheckInputGradient("[{type: residual, layers: [{type: linear, units: 6}, {type: gelu}]}]");
  CheckInputGradient("[{type: cross, layers: 2}]");
  CheckInputGradient("[{type: cross, layers: 2, rank: 2}, {type: linear, units: 1}]");
  CheckInputGradient(
      "[{type: branch, branches: [{layers: [{type: slice, size: 2}]}, {layers: [{type: dots, size: "
      "2}]}]}, {type: linear, units: 1}]");
  CheckInputGradient("[{type: conv, channels: 2, padding: 1}, {type: avg_pool}]", {4, 4, 2});
}

TEST_CASE("Backward starts from a gradient that the caller writes instead of a loss") {
  const auto device = MakeCpuDevice(0, 1, -1);
  Probe probe(device.get(),
              "[{type: linear, units: 4, activation: sigmoid}, {type: linear, units: 1}]",
              Dtype::kF32);
  NetRig& rig = probe.rig;
  const Floats input = probe.Gradient(), params = rig.Grads();

  const Floats y = rig.Forward(probe.step, probe.x);
  const Tensor start = rig->output_gradient();
  CHECK(start.dtype() == Dtype::kF32);
  REQUIRE(start.shape() == Shape{kRows, 1});
  Floats twice(kRows);
  for (int64_t r = 0; r < kRows; ++r) twice[r] = 2 * (y[r] - probe.targets[r]) / kRows;
  start.Upload(twice.data());
  rig.Backward(probe.step);
  const Floats input2 = rig.InputGradient(), params2 = rig.Grads();
  for (size_t i = 0; i < input.size(); ++i) CHECK(input2[i] == Approx(2 * input[i]).margin(1e-6));
  for (size_t i = 0; i < params.size(); ++i) {
    CHECK(params2[i] == Approx(2 * params[i]).margin(1e-6));
  }

  // What the loss writes is there to be read, too.
  rig.Forward(probe.step, probe.x);
  rig.Loss(probe.step, probe.targets);
  Floats written(kRows);
  rig->output_gradient().Download(written.data());
  for (int64_t r = 0; r < kRows; ++r) CHECK(written[r] == Approx(twice[r] / 2));
}

TEST_CASE("The input's gradient follows the rows of a step, and is not accumulated") {
  const auto device = MakeCpuDevice(0, 1, -1);
  Probe probe(device.get(), "[{type: linear, units: 3}]", Dtype::kF32);
  const Floats whole = probe.Gradient(), params = probe.rig.Grads();
  StepContext part = probe.step;
  part.rows = 2;
  part.accumulate = true;
  probe.rig.Forward(part, probe.x);
  probe.rig.Loss(part, probe.targets);
  probe.rig.Backward(part);
  const Tensor g = probe.rig->input_gradient();
  CHECK(g.shape() == Shape{2, kInputs});
  const Floats some = probe.rig.InputGradient();
  for (size_t i = 0; i < some.size(); ++i) CHECK(some[i] == Approx(whole[i]));
  CHECK(probe.rig.Grads() != params);
}

TEST_CASE("A net whose input needs no gradient computes none") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::string net =
      "loss: squared_error\nlayers: [{type: tanh}, {type: linear, units: 8}, {type: linear, units: "
      "1}]";
  const NetRig with(device.get(), net, {64, 32, 0, Dtype::kF32, true, {}, true});
  const NetRig without(device.get(), net, {64, 32, 0, Dtype::kF32, true});
  const NetRig evaluation(device.get(), net, {64, 32, 0, Dtype::kF32, false, {}, true});
  CHECK(with->activation_bytes() > without->activation_bytes());
  CHECK(evaluation->activation_bytes() < without->activation_bytes());
  // Nothing lies behind the outputs.
  const NetRig bare(device.get(), "loss: squared_error\nlayers: [{type: tanh}]",
                    {4, 6, 0, Dtype::kF32, true});
  CHECK(bare->output_gradient().empty());
}

}  // namespace mariana
