#include "common/optim/optimizer.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/common/nn/net_rig.h"

namespace mariana {
namespace {

using Floats = std::vector<float>;
using Verdict = NewbobState::Verdict;

struct TrainingSpec {
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  void Describe(Fields* f) {
    f->Section("optimizer", &optimizer, "");
    f->Section("schedule", &schedule, "");
  }
};

TrainingSpec Parse(const std::string& yaml) {
  TrainingSpec spec;
  LoadConfigText(yaml, "job.yaml", ".", {}, [&](Fields* f) { spec.Describe(f); });
  return spec;
}

void CheckRefused(const std::string& yaml, const std::string& word) {
  INFO(yaml);
  CHECK_THROWS_WITH(Parse(yaml), Catch::Contains(word));
}

// One worker's step: clip by the global norm, then update every parameter.
void Update(Device* device, Net* net, const TrainingSpec& spec, int64_t step, int64_t epoch_steps,
            const std::vector<Tensor>& slots) {
  const double norm = std::sqrt(device->SumOfSquares(net->grads(), net->arena_elements()));
  const double clip = spec.optimizer.clip_norm;
  const double scale = clip > 0 && norm > clip ? clip / norm : 1;
  for (const ParamInfo& p : net->params()) {
    const OptimizerStep s = MakeOptimizerStep(
        spec.optimizer, LearningRate(spec.schedule, step, epoch_steps), step + 1, scale,
        FactorsOf(spec.optimizer, p.name, p.decay));
    float* slot[2] = {nullptr, nullptr};
    for (size_t i = 0; i < slots.size(); ++i) slot[i] = slots[i].f32() + p.offset;
    device->Update(s, net->grads() + p.offset, net->values() + p.offset, nullptr, slot[0], slot[1],
                   p.elements);
  }
}

}  // namespace

TEST_CASE("The losses of the first 10 steps are PyTorch's") {
  nlohmann::json golden;
  std::ifstream("tests/golden/nets.json") >> golden;
  const auto& g = golden["training"];
  const auto device = MakeCpuDevice(0, 1, -1);
  const int64_t rows = g["rows"], inputs = g["inputs"], epoch_steps = g["epoch_steps"];
  const Floats x = g["x"], labels = g["labels"];
  REQUIRE(g["traces"].size() >= 12);
  for (const auto& trace : g["traces"]) {
    INFO(trace["name"].get<std::string>());
    const TrainingSpec spec = Parse(trace["yaml"]);
    NetRig rig(device.get(), g["net"], {rows, inputs, g["outputs"], Dtype::kF32, true});
    for (const auto& [name, values] : g["params"].items()) {
      rig.SetParam(rig.Find(name), values.get<Floats>());
    }
    std::vector<Tensor> slots;
    for (int i = 0; i < OptimizerSlots(spec.optimizer); ++i) {
      slots.emplace_back(device.get(), Dtype::kF32, Shape{rig->arena_elements()});
    }
    const std::vector<double> losses = trace["losses"];
    REQUIRE(losses.size() == 10);
    for (int64_t t = 0; t < 10; ++t) {
      const StepContext step = TrainStep(rows);
      rig.Forward(step, Floats(x.begin() + t * rows * inputs, x.end()));
      const LossSums sums =
          rig.Loss(step, Floats(labels.begin() + t * rows, labels.begin() + (t + 1) * rows));
      INFO("step " << t);
      CHECK(sums.loss / rows == Approx(losses[t]).epsilon(0).margin(1e-4));
      rig.Backward(step);
      Update(device.get(), rig.net(), spec, t, epoch_steps, slots);
    }
  }
}

TEST_CASE("Penalties and decay spare biases") {
  OptimizerSpec spec;
  spec.type = OptimizerType::kAdamW;
  spec.l1 = 1, spec.l2 = 2, spec.weight_decay = 3;
  const OptimizerStep weights =
      MakeOptimizerStep(spec, 0.1, 1, 0.5, FactorsOf(spec, "a.weight", true));
  const OptimizerStep biases =
      MakeOptimizerStep(spec, 0.1, 1, 0.5, FactorsOf(spec, "a.bias", false));
  CHECK((weights.l1 == 1 && weights.l2 == 2 && weights.weight_decay == 3));
  CHECK((biases.l1 == 0 && biases.l2 == 0 && biases.weight_decay == 0));
  CHECK(weights.gradient_scale == 0.5f);
  CHECK(biases.bias1 == Approx(0.1));
  CHECK(MakeOptimizerStep(spec, 0.1, 2, 1, {}).bias2 == Approx(1 - 0.999 * 0.999));
}

TEST_CASE("Of groups of parameters the first that matches counts") {
  const OptimizerSpec spec =
      Parse("optimizer: {type: adamw, l2: 2, weight_decay: 3, groups: [{match: '*.bias', decay: 1}, "
            "{match: 'features.?.*', decay: 0.5, learning_rate: 0.1}, {match: 'f*', learning_rate: "
            "0}]}")
          .optimizer;
  CHECK(FactorsOf(spec, "features.0.bias", false) == Factors{1, 1});
  CHECK(FactorsOf(spec, "features.0.weight", true) == Factors{0.5, 0.1});
  CHECK(FactorsOf(spec, "features.10.weight", true) == Factors{1, 0});
  CHECK(FactorsOf(spec, "conv1.weight", true) == Factors{1, 1});
  CHECK(FactorsOf(spec, "bn1.weight", false) == Factors{0, 1});
  const OptimizerStep step = MakeOptimizerStep(spec, 2, 1, 1, Factors{0.5, 0.1});
  CHECK((step.l2 == 1 && step.weight_decay == 1.5f && step.learning_rate == 0.2f));

  CheckGroups(spec, {"features.0.weight", "a.bias"});
  CHECK_THROWS_WITH(CheckGroups(spec, {"conv1.weight", "conv1.bias"}),
                    Catch::Contains("features.?.*") && Catch::Contains("conv1.weight"));
  CheckRefused("optimizer: {groups: [{decay: 0}]}", "match");
  CheckRefused("optimizer: {groups: [{match: a, decay: -1}]}", "decay");
}

TEST_CASE("The step of an average takes its share of the values") {
  const auto device = MakeCpuDevice(0, 1, -1);
  Tensor average(device.get(), Dtype::kF32, Shape{32}), value(device.get(), Dtype::kF32, Shape{32});
  device->Fill(value.f32(), 4, 32);
  device->Fill(average.f32(), 8, 32);
  const auto next = [&](double decay, int64_t t) {
    device->Update(MakeAverageStep(decay, t), value.f32(), average.f32(), nullptr, nullptr, nullptr,
                   32);
    Floats host(32);
    average.Download(host.data());
    return host[31];
  };
  CHECK(next(0.75, 1000000) == Approx(0.75 * 8 + 0.25 * 4));
  CHECK(next(0.75, 2) == Approx(0.25 * 7 + 0.75 * 4));  // (1 + 2) / (10 + 2) in the second step
}

TEST_CASE("Optimizers say what state they keep") {
  OptimizerSpec spec;
  CHECK(OptimizerSlotNames(spec) == std::vector<std::string>{"momentum"});
  spec.momentum = 0;
  CHECK(OptimizerSlots(spec) == 0);
  spec.type = OptimizerType::kAdaGrad;
  CHECK(OptimizerSlotNames(spec) == std::vector<std::string>{"sum"});
  spec.type = OptimizerType::kAdamW;
  CHECK(OptimizerSlotNames(spec) == std::vector<std::string>{"m", "v"});
}

TEST_CASE("Schedules follow their closed forms") {
  const auto rate = [](const std::string& yaml, int64_t step) {
    return LearningRate(Parse("schedule: {learning_rate: 0.8, " + yaml + "}").schedule, step, 10);
  };
  CHECK(rate("type: constant", 1000) == 0.8);
  CHECK(rate("type: newbob", 1000) == 0.8);

  const std::string steps = "type: step, step_epochs: [1, 2.5], step_factor: 0.5";
  CHECK(rate(steps, 9) == 0.8);
  CHECK(rate(steps, 10) == 0.4);
  CHECK(rate(steps, 24) == 0.4);
  CHECK(rate(steps, 25) == 0.2);

  const std::string fall = "type: exponential, final_learning_rate: 0.05, horizon_epochs: 4";
  CHECK(rate(fall, 0) == 0.8);
  CHECK(rate(fall, 10) == Approx(0.4));
  CHECK(rate(fall, 30) == Approx(0.1));
  CHECK(rate(fall, 11) / rate(fall, 10) == Approx(rate(fall, 31) / rate(fall, 30)));
  CHECK(rate(fall, 40) == Approx(0.05));
  CHECK(rate(fall, 4000) == Approx(0.05));

  const std::string wave = "type: cosine, final_learning_rate: 0.2, horizon_epochs: 4";
  CHECK(rate(wave, 0) == Approx(0.8));
  CHECK(rate(wave, 20) == Approx(0.5));
  CHECK(rate(wave, 40) == Approx(0.2));
  CHECK(rate(wave, 41) == Approx(0.2));

  // Warm-up ends at the full rate; what falls, falls from there to the same horizon.
  CHECK(rate("type: constant, warmup_steps: 4", 0) == Approx(0.2));
  CHECK(rate("type: constant, warmup_steps: 4", 3) == Approx(0.8));
  CHECK(rate(wave + ", warmup_steps: 20", 20) == Approx(0.8));
  CHECK(rate(wave + ", warmup_steps: 20", 30) == Approx(0.5));
  CHECK(rate(wave + ", warmup_steps: 20", 40) == Approx(0.2));
}

TEST_CASE("Newbob halves when gains get small, rejects worse epochs, and stops") {
  const ScheduleSpec spec;
  NewbobState s;
  CHECK(s.Observe(spec, 2.0) == Verdict::kAccept);
  CHECK(s.Observe(spec, 1.5) == Verdict::kAccept);
  CHECK((s.factor == 1 && !s.halving));
  CHECK(s.Observe(spec, 1.49) == Verdict::kAccept);  // gain .0067: halving starts
  CHECK((s.factor == 0.5 && s.halving && s.best_loss == 1.49));
  CHECK(s.Observe(spec, 1.3) == Verdict::kAccept);  // a large gain does not end it
  CHECK(s.factor == 0.25);
  CHECK(s.Observe(spec, 1.2995) == Verdict::kStop);  // gain .0004
  CHECK(s.best_loss == 1.2995);
}

TEST_CASE("Newbob: a worse or broken epoch starts the halving, a second one stops") {
  for (double bad : {1.1, std::nan("")}) {
    NewbobState s;
    CHECK(s.Observe(ScheduleSpec(), 1.0) == Verdict::kAccept);
    CHECK(s.Observe(ScheduleSpec(), bad) == Verdict::kReject);
    CHECK((s.factor == 0.5 && s.halving && s.best_loss == 1.0));
    CHECK(s.Observe(ScheduleSpec(), bad) == Verdict::kRejectAndStop);
    CHECK(s.best_loss == 1.0);
  }
}

TEST_CASE("Settings that do nothing or cannot work are refused") {
  CheckRefused("optimizer: {type: adam, nesterov: true}", "nesterov");
  CheckRefused("optimizer: {momentum: 0, nesterov: true}", "nesterov");
  CheckRefused("optimizer: {weight_decay: 0.1}", "adamw");
  CheckRefused("optimizer: {momentum: 1}", "momentum");
  CheckRefused("schedule: {type: exponential}", "final_learning_rate");
  CheckRefused("schedule: {type: step}", "step_epochs");
  CheckRefused("schedule: {learning_rate: 0}", "learning_rate");
}

}  // namespace mariana
