#include <fstream>
#include <nlohmann/json.hpp>

#include "common/nn/memory_plan.h"
#include "tests/common/nn/check_layer.h"

namespace mariana {
namespace {

using Floats = std::vector<float>;

const char kMixed[] =
    "group: 4\nlayers:\n"
    "- {type: linear, units: 12, activation: relu}\n"
    "- {type: batch_norm}\n"
    "- {type: dropout, rate: 0.3}\n"
    "- {type: residual, layers: [{type: linear, units: 12}, {type: batch_norm}, {type: tanh}]}\n"
    "- {type: dropout, rate: 0.2}\n"
    "- {type: linear}\n";

Floats Noise(size_t n, uint64_t stream = 0) {
  RandomSequence random(7, stream);
  Floats x(n);
  for (float& v : x) v = random.Normal();
  return x;
}

// Forward, loss and backward; the gradients.
Floats Gradients(NetRig* rig, const StepContext& step, const Floats& x, const Floats& labels) {
  rig->Forward(step, x);
  if (step.rows > 0) rig->Loss(step, labels);
  rig->Backward(step);
  return rig->Grads();
}

void CheckClose(const Floats& a, const Floats& b, double margin) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    INFO("element " << i);
    CHECK(a[i] == Approx(b[i]).epsilon(1e-4).margin(margin));
  }
}

}  // namespace

TEST_CASE("Nets compute what PyTorch computes") {
  nlohmann::json golden;
  std::ifstream("tests/golden/nets.json") >> golden;
  const auto device = MakeCpuDevice(0, 1, -1);
  REQUIRE(golden["layers"].size() >= 16);
  for (const auto& c : golden["layers"]) {
    INFO(c["name"].get<std::string>());
    const int64_t rows = c["rows"];
    NetRig rig(device.get(), c["net"],
               {rows, c["inputs"], c["outputs"], Dtype::kF32, true,
                Shape(c["image"].get<std::vector<int64_t>>())});
    REQUIRE(rig->params().size() == c["params"].size());
    for (const auto& [name, values] : c["params"].items()) {
      rig.SetParam(rig.Find(name), values.get<Floats>());
    }
    StepContext step = TrainStep(rows);
    CheckClose(rig.Forward(step, c["x"]), c["y"].get<Floats>(), 1e-5);
    CHECK(rig.Loss(step, c["labels"]).loss / rows == Approx(c["loss"].get<double>()).epsilon(1e-5));
    rig.Backward(step);
    for (const auto& [name, values] : c["grads"].items()) {
      INFO(name);
      CheckClose(rig.Grad(rig.Find(name)), values.get<Floats>(), 1e-5);
    }

    // The arena holds nothing else: norms are taken over all of it.
    double squares = 0;
    for (double g : rig.Grads()) squares += g * g;
    CHECK(device->SumOfSquares(rig->grads(), rig->arena_elements()) == Approx(squares));

    std::vector<int32_t> group_rows;
    for (int64_t r = 0; rig->group() > 0 && r < rows; r += rig->group()) {
      group_rows.push_back(static_cast<int32_t>(std::min(rig->group(), rows - r)));
    }
    Floats stats(group_rows.size() * rig->batch_stats_elements());
    device->Download(stats.data(), rig->batch_stats(), stats.size() * 4);
    rig->UpdateRunning(stats.data(), group_rows);
    CHECK(rig->states().size() == c["states"].size());
    for (size_t i = 0; i < rig->states().size(); ++i) {
      CheckClose(rig.State(i), c["states"][rig->states()[i].name].get<Floats>(), 1e-5);
    }
    step.train = false;
    CheckClose(rig.Forward(step, c["x"]), c["y_eval"].get<Floats>(), 1e-5);
  }
}

TEST_CASE("An activation after a linear layer is fused into it, and changes nothing") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const RigOptions o{6, 5, 4, Dtype::kF32, true};
  NetRig fused(device.get(), "layers: [{type: linear, units: 9}, {type: tanh}, {type: linear}]", o);
  // Dropout of nothing keeps the two apart.
  NetRig apart(device.get(),
               "layers: [{type: linear, units: 9}, {type: dropout, rate: 0}, {type: tanh}, {type: "
               "linear}]",
               o);
  CHECK(fused->ops().size() == 2);
  CHECK(apart->ops().size() == 4);
  // An input of two readers is not fused into.
  NetRig shared(device.get(),
                "layers: [{type: linear, units: 4}, {type: branch, join: add, branches: [{layers: "
                "[{type: relu}]}, {layers: [{type: tanh}]}]}]",
                o);
  CHECK(shared->ops().size() == 4);

  const StepContext step = TrainStep(6);
  const Floats x = Noise(30), labels = {0, 1, 2, 3, 0, 1};
  CheckClose(fused.Forward(step, x), apart.Forward(step, x), 1e-6);
  CheckClose(Gradients(&fused, step, x, labels), Gradients(&apart, step, x, labels), 1e-6);
}

TEST_CASE("A net for evaluation equals one for training, and needs less memory") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::string deep =
      "layers: [{type: linear, units: 32, activation: relu, repeat: 6}, {type: "
      "dropout}, {type: linear}]";
  NetRig train(device.get(), deep, {8, 5, 4, Dtype::kF32, true});
  NetRig evaluate(device.get(), deep, {8, 5, 4, Dtype::kF32, false});
  StepContext step = TrainStep(8);
  step.train = false;
  const Floats x = Noise(40);
  CHECK(train.Forward(step, x) == evaluate.Forward(step, x));
  CHECK(evaluate->grads() == nullptr);
  // Two layers' outputs at a time.
  CHECK(evaluate->activation_bytes() == 2 * 8 * 32 * 4);

  int64_t sum = 0;
  for (const OpInfo& op : train->ops()) sum += op.activation_bytes;
  CHECK(train->activation_bytes() < sum * 3 / 4);
  CHECK(train->activation_bytes() > evaluate->activation_bytes());
}

TEST_CASE("A batch split over workers gives the gradients of the whole") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const int64_t rows = 18, inputs = 6;  // groups of 4, 4, 4, 4 and 2
  const Floats x = Noise(rows * inputs);
  Floats labels(rows);
  for (int64_t r = 0; r < rows; ++r) labels[r] = static_cast<float>(r % 5);
  const RigOptions o{rows, inputs, 5, Dtype::kF32, true};
  NetRig rig(device.get(), kMixed, o);
  StepContext whole = TrainStep(rows);
  whole.first_sample = 1000;
  const Floats expected = Gradients(&rig, whole, x, labels);
  Floats whole_stats(5 * rig->batch_stats_elements());
  device->Download(whole_stats.data(), rig->batch_stats(), whole_stats.size() * 4);

  for (const std::vector<int64_t>& split :
       std::vector<std::vector<int64_t>>{{8, 10}, {4, 4, 4, 4, 2}, {16, 2, 0}}) {
    Floats sum(expected.size()), stats;
    StepContext part = whole;
    int64_t first = 0;
    for (int64_t n : split) {
      part.rows = n;
      part.first_sample = 1000 + first;
      const Floats g = Gradients(&rig, part, Floats(x.begin() + first * inputs, x.end()),
                                 Floats(labels.begin() + first, labels.end()));
      for (size_t i = 0; i < g.size(); ++i) sum[i] += g[i];
      Floats mine((n + 3) / 4 * rig->batch_stats_elements());
      device->Download(mine.data(), rig->batch_stats(), mine.size() * 4);
      stats.insert(stats.end(), mine.begin(), mine.end());
      first += n;
    }
    CheckClose(sum, expected, 1e-6);
    CheckClose(stats, whole_stats, 1e-6);
  }

  // The same parts one after the other on one worker.
  StepContext part = whole;
  Floats g;
  for (int64_t first : {0, 12}) {
    part.rows = first == 0 ? 12 : 6;
    part.first_sample = 1000 + first;
    part.accumulate = first > 0;
    g = Gradients(&rig, part, Floats(x.begin() + first * inputs, x.end()),
                  Floats(labels.begin() + first, labels.end()));
  }
  CheckClose(g, expected, 1e-6);
}

TEST_CASE("Trainers hear of every op with parameters, also without rows") {
  const auto device = MakeCpuDevice(0, 1, -1);
  NetRig rig(device.get(), kMixed, {8, 6, 5, Dtype::kF32, true});
  for (int64_t rows : {8, 0}) {
    const StepContext step = TrainStep(rows);
    Tensor input(device.get(), Dtype::kF32, Shape{rows, 6});
    Tensor labels(device.get(), Dtype::kI32, Shape{rows});
    std::vector<int> before, after;
    rig->Forward(step, input, [&](int op) { before.push_back(op); });
    rig->Loss(step, labels);
    rig->Backward(step, input, [&](int op) { after.push_back(op); });
    std::vector<int> owners;
    for (const ParamInfo& p : rig->params()) {
      if (owners.empty() || owners.back() != p.op) owners.push_back(p.op);
    }
    CHECK(before == owners);
    CHECK(after == std::vector<int>(owners.rbegin(), owners.rend()));
  }
  const Floats grads = rig.Grads();
  CHECK(std::count(grads.begin(), grads.end(), 0.0f) == static_cast<int64_t>(grads.size()));
}

TEST_CASE("Names, the arena and the op table") {
  const auto device = MakeCpuDevice(0, 1, -1);
  NetRig rig(device.get(),
             "layers: [{type: linear, name: hidden, units: 8, repeat: 2}, {type: batch_norm}, "
             "{type: branch, branches: [{layers: [{type: linear, units: 3}]}, {layers: [{type: "
             "relu}]}]}, {type: linear}, {type: sigmoid}]",
             {4, 6, 5, Dtype::kF32, true});
  std::vector<std::string> names;
  int64_t next = 0;
  for (const ParamInfo& p : rig->params()) {
    names.push_back(p.name);
    CHECK(p.offset == next);
    CHECK(p.decay == (p.shape.rank() == 2));
    next += p.elements;
  }
  CHECK(next == rig->arena_elements());
  CHECK(names == std::vector<std::string>{"hidden1.weight", "hidden1.bias", "hidden2.weight",
                                          "hidden2.bias", "batch_norm1.weight", "batch_norm1.bias",
                                          "branch1.0.linear1.weight", "branch1.0.linear1.bias",
                                          "linear1.weight", "linear1.bias"});
  CHECK(rig->params()[8].shape == Shape{5, 11});
  CHECK(rig->states()[1].name == "batch_norm1.running_var");
  CHECK(rig.State(1) == Floats(8, 1.0f));
  CHECK(rig->group() == 128);
  CHECK(rig->ops().back().type == std::string("linear"));
  CHECK(rig->ops().back().parameters == 60);
  CHECK(rig->ops().back().flops == 2 * 5 * 11);
  CHECK_THROWS_WITH(
      NetRig(device.get(), "layers: [{type: linear, units: 3}]", {4, 6, 5, Dtype::kF32, true}),
      Catch::Contains("linear1") && Catch::Contains("3 outputs") && Catch::Contains("needs 5"));
}

TEST_CASE("A printed net reads back as the same net, and every layer is documented") {
  NetSpec spec, again;
  const auto describe = [](NetSpec* s) { return [s](Fields* f) { s->Describe(f); }; };
  LoadConfigText(kMixed, "net.yaml", ".", {}, describe(&spec));
  const std::string printed = PrintConfig(describe(&spec));
  LoadConfigText(printed, "printed.yaml", ".", {}, describe(&again));
  CHECK(PrintConfig(describe(&again)) == printed);
  CHECK(again.group == 4);
  CHECK(again.layers.size() == spec.layers.size());

  NetSpec fresh;
  const std::string docs = DocumentConfig("net", describe(&fresh));
  const std::string schema = ConfigJsonSchema("net", describe(&fresh));
  for (const auto& row : LayerCatalog()) {
    CHECK(row.make()->type() == std::string(row.type));
    CHECK_THAT(docs, Catch::Contains(row.type));
    CHECK_THAT(schema, Catch::Contains(row.type));
  }
}

TEST_CASE("Initial values follow the seed and the rule") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const auto draw = [&](const std::string& init, uint64_t seed) {
    NetRig rig(device.get(), "layers: [{type: linear, units: 200, init: " + init + "}]",
               {1, 100, 0, Dtype::kF32, true});
    rig->Initialize(seed);
    CHECK(rig.Param(1) == Floats(200, 0.0f));
    return rig.Param(0);
  };
  CHECK(draw("he_normal", 1) == draw("he_normal", 1));
  CHECK(draw("he_normal", 1) != draw("he_normal", 2));
  const auto check = [&](const std::string& init, double variance) {
    INFO(init);
    double sum = 0, squares = 0;
    const Floats w = draw(init, 1);
    for (double v : w) sum += v, squares += v * v;
    const double n = static_cast<double>(w.size());
    CHECK(sum / n == Approx(0).margin(4 * std::sqrt(variance / n)));
    CHECK(squares / n == Approx(variance).epsilon(0.04));
  };
  check("glorot_uniform", 2.0 / 300);
  check("glorot_normal", 2.0 / 300);
  check("he_uniform", 2.0 / 100);
  check("he_normal", 2.0 / 100);
  check("normal, std: 0.5", 0.25);
  check("uniform", 1.0 / 300);
}

TEST_CASE("bf16 nets end in fp32, whatever the last layer") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::string net = "layers: [{type: linear, units: 4}, {type: batch_norm}]";
  if (!CanBf16(device.get())) return;
  NetRig wide(device.get(), net, {8, 6, 4, Dtype::kF32, true});
  NetRig narrow(device.get(), net, {8, 6, 4, Dtype::kBF16, true});
  CHECK(narrow->ops().back().type == std::string("convert"));
  const Floats x = Noise(48), labels = {0, 1, 2, 3, 0, 1, 2, 3};
  const StepContext step = TrainStep(8);
  CHECK(RelativeDistance(narrow.Forward(step, x), wide.Forward(step, x)) < 0.03);
  Gradients(&narrow, step, x, labels);
  Gradients(&wide, step, x, labels);
  Floats a, b;  // plain: the layouts of the two differ
  for (int i = 0; i < static_cast<int>(wide->params().size()); ++i) {
    for (const float g : narrow.Grad(i)) a.push_back(g);
    for (const float g : wide.Grad(i)) b.push_back(g);
  }
  CHECK(RelativeDistance(a, b) < 0.1);
}

TEST_CASE("The profile covers every op") {
  const auto device = MakeCpuDevice(0, 1, -1);
  NetRig rig(device.get(), kMixed, {8, 6, 5, Dtype::kF32, true});
  CHECK(rig->TakeProfile().empty());
  rig->EnableProfile(true);
  Gradients(&rig, TrainStep(8), Noise(48), Floats(8));
  const auto profile = rig->TakeProfile();
  REQUIRE(profile.size() == rig->ops().size());
  for (const auto& [forward, backward] : profile) {
    CHECK(forward > 0);
    CHECK(backward > 0);
  }
  CHECK(rig->TakeProfile()[0].first == 0);
}

TEST_CASE("Blocks alive together never overlap") {
  RandomSequence random(1, 0);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<MemoryBlock> blocks(30);
    int64_t sum = 0;
    for (MemoryBlock& b : blocks) {
      b.bytes = static_cast<int64_t>(random.Below(1000));
      b.first = static_cast<int>(random.Below(40));
      b.last = b.first + static_cast<int>(random.Below(10));
      sum += b.bytes + 63;
    }
    const int64_t total = PlaceBlocks(&blocks);
    CHECK(total < sum);
    for (const MemoryBlock& a : blocks) {
      CHECK(a.offset % 64 == 0);
      CHECK(a.offset + a.bytes <= total);
      for (const MemoryBlock& b : blocks) {
        if (&a == &b || a.last < b.first || b.last < a.first) continue;
        CHECK((a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset));
      }
    }
  }
}

}  // namespace mariana
