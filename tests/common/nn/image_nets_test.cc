// Nets of images: the zoo, what is fused, what is kept in memory, cuts.
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/common/nn/check_layer.h"

namespace mariana {
namespace {

using Floats = std::vector<float>;

NetPlan PlanZoo(Device* device, const std::string& name, int64_t size, int64_t outputs) {
  NetSpec spec;
  LoadConfig({"configs/zoo/" + name + ".yaml", {}}, [&](Fields* f) { spec.Describe(f); });
  NetOptions options;
  options.device = device;
  options.max_rows = 1;
  options.input = {size, size, 3};
  options.outputs = outputs;
  options.train = false;
  return PlanNet(spec, options);
}

int64_t CountParameters(const NetPlan& plan) {
  int64_t n = 0;
  for (const OpInfo& op : plan.ops) n += op.parameters;
  return n;
}

template <class Info>
std::map<std::string, std::vector<int64_t>> ShapesOf(const std::vector<Info>& infos) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const Info& i : infos) shapes[i.name] = i.shape.dims();
  return shapes;
}

std::vector<std::string> TypesOf(const std::vector<OpInfo>& ops) {
  std::vector<std::string> types;
  for (const OpInfo& op : ops) types.push_back(op.type);
  return types;
}

Floats Noise(int64_t n) {
  RandomSequence random(3, 0);
  Floats x(static_cast<size_t>(n));
  for (float& v : x) v = random.Normal();
  return x;
}

const char kResidualNet[] =
    "group: 2\nlayers:\n"
    "- {type: conv, name: stem, channels: 4, padding: 1, bias: false}\n"
    "- {type: batch_norm}\n- {type: relu}\n"
    "- type: residual\n  activation: relu\n  name: block\n"
    "  layers: [{type: conv, channels: 4, padding: 1, bias: false}, {type: batch_norm}, {type: "
    "relu}, {type: conv, channels: 4, padding: 1, bias: false}, {type: batch_norm}]\n"
    "- {type: global_pool}\n- {type: linear}\n";

// The same, where dropout of nothing keeps apart what would be fused.
std::string Apart(std::string net) {
  const std::string from = "{type: batch_norm}",
                    to = "{type: batch_norm}, {type: dropout, rate: 0}";
  for (size_t at = net.find(from); at != net.npos; at = net.find(from, at + to.size())) {
    const bool in_list = net[at - 1] == ' ' && net[at - 2] == ',';
    net.replace(at, from.size(), in_list ? to : from + "\n- {type: dropout, rate: 0}");
  }
  return net;
}

}  // namespace

TEST_CASE("Nets of the zoo have torchvision's parameters, by name and shape") {
  nlohmann::json golden;
  std::ifstream("tests/golden/zoo.json") >> golden;
  const auto device = MakeCpuDevice(0, 1, -1);
  REQUIRE(golden["nets"].size() == 5);
  for (const auto& [name, net] : golden["nets"].items()) {
    INFO(name);
    const NetPlan plan = PlanZoo(device.get(), name, 224, 1000);
    CHECK(CountParameters(plan) == net["parameters"].get<int64_t>());
    CHECK(ShapesOf(plan.params) ==
          net["params"].get<std::map<std::string, std::vector<int64_t>>>());
    CHECK(ShapesOf(plan.states) ==
          net["states"].get<std::map<std::string, std::vector<int64_t>>>());
    CHECK(plan.output_shape == Shape{1000});
  }
}

TEST_CASE("The zoo's ResNet-20 and its net of the 2014 size have the published sizes") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const NetPlan resnet = PlanZoo(device.get(), "resnet20_cifar", 32, 10);
  CHECK(CountParameters(resnet) == 272474);  // 269,722 and two projections
  // A convolution in its layer of 16 x 16 images: 2 * 16 * 16 * 32 * 32 * 9.
  const auto conv = std::find_if(resnet.ops.begin(), resnet.ops.end(),
                                 [](const OpInfo& op) { return op.name == "layer2.1.conv1"; });
  REQUIRE(conv != resnet.ops.end());
  CHECK(conv->output == Shape{16, 16, 32});
  CHECK(conv->flops == 4718592);

  const NetPlan large = PlanZoo(device.get(), "seed_large", 224, 2500);
  CHECK(CountParameters(large) == 67110724);
  CHECK(large.output_shape == Shape{2500});
}

TEST_CASE("Batch norm takes in the relu and the sum behind it, forward and backward") {
  const auto device = MakeCpuDevice(0, 2, -1);
  const RigOptions o{5, 0, 3, Dtype::kF32, true, {6, 5, 2}};
  NetRig fused(device.get(), kResidualNet, o), apart(device.get(), Apart(kResidualNet), o);
  CHECK(TypesOf(fused->ops()) == std::vector<std::string>{"conv", "batch_norm", "conv",
                                                          "batch_norm", "conv", "batch_norm",
                                                          "global_pool", "linear"});
  CHECK(fused->ops()[5].name == "block.batch_norm2");
  CHECK(apart->ops().size() == 15);

  StepContext step = TrainStep(5);
  const Floats x = Noise(5 * 60), labels = {0, 1, 2, 0, 1};
  for (const bool train : {true, false}) {
    step.train = train;
    CHECK(RelativeDistance(fused.Forward(step, x), apart.Forward(step, x)) < 1e-6);
    CHECK(fused.Loss(step, labels).loss == Approx(apart.Loss(step, labels).loss));
    if (!train) continue;
    fused.Backward(step);
    apart.Backward(step);
    for (size_t i = 0; i < fused->params().size(); ++i) {
      const std::string& name = fused->params()[i].name;
      INFO(name);
      CHECK(RelativeDistance(fused.Grad(static_cast<int>(i)), apart.Grad(apart.Find(name))) < 1e-5);
    }
  }
}

TEST_CASE("A sum whose parts are read elsewhere, too, is not fused") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const RigOptions o{2, 6, 0, Dtype::kF32, true};
  NetRig shared(device.get(),
                "layers: [{type: batch_norm}, {type: branch, join: add, branches: [{}, {layers: "
                "[{type: tanh}]}]}]",
                o);
  CHECK(TypesOf(shared->ops()) == std::vector<std::string>{"batch_norm", "tanh", "add"});
  NetRig three(device.get(),
               "layers: [{type: branch, join: add, branches: [{}, {layers: [{type: batch_norm}]}, "
               "{layers: [{type: tanh}]}]}]",
               o);
  CHECK(three->ops().size() == 3);
}

TEST_CASE("In training a block keeps what its backward pass reads, and no more") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const int64_t rows = 8, tensor = rows * 16 * 16 * 32 * 4;
  const std::string unit =
      "- {type: conv, channels: 32, padding: 1, bias: false}\n- {type: batch_norm}\n"
      "- {type: relu}\n";
  const auto bytes = [&](int units) {
    std::string net = "layers:\n";
    for (int i = 0; i < units; ++i) net += unit;
    NetRig rig(device.get(), net, {rows, 0, 0, Dtype::kF32, true, {16, 16, 32}});
    return rig->activation_bytes();
  };
  // The convolution's output for batch norm, batch norm's for relu and the next convolution.
  const double more = static_cast<double>(bytes(9) - bytes(5)) / 4;
  CHECK(more / static_cast<double>(tensor) == Approx(2).epsilon(0.01));
}

TEST_CASE("A net may end at any layer or block") {
  const auto device = MakeCpuDevice(0, 1, -1);
  NetSpec spec;
  LoadConfigText(kResidualNet, "net.yaml", ".", {}, [&](Fields* f) { spec.Describe(f); });
  NetOptions options;
  options.device = device.get();
  options.max_rows = 2;
  options.input = {6, 5, 2};
  options.outputs = 3;
  options.train = false;
  options.until = "block";
  const NetPlan block = PlanNet(spec, options);
  CHECK(block.output_shape == Shape{6, 5, 4});
  CHECK(TypesOf(block.ops) ==
        std::vector<std::string>{"conv", "batch_norm", "conv", "batch_norm", "conv", "batch_norm"});
  options.until = "stem";  // before batch norm and relu
  CHECK(TypesOf(PlanNet(spec, options).ops) == std::vector<std::string>{"conv"});
  options.until = "block.relu1";
  CHECK(PlanNet(spec, options).ops.back().name == "block.batch_norm1");
  options.until = "blocks";
  CHECK_THROWS_WITH(PlanNet(spec, options), Catch::Contains("blocks"));
}

TEST_CASE("Labels are smoothed in training only") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::string layers = "layers: [{type: linear}]\n";
  const RigOptions o{4, 6, 3, Dtype::kF32, true};
  NetRig plain(device.get(), layers, o), smooth(device.get(), "label_smoothing: 0.3\n" + layers, o);
  const Floats x = Noise(24), labels = {0, 1, 2, 0};
  StepContext step = TrainStep(4);
  plain.Forward(step, x);
  smooth.Forward(step, x);
  CHECK(smooth.Loss(step, labels).loss != Approx(plain.Loss(step, labels).loss));
  step.train = false;
  CHECK(smooth.Loss(step, labels).loss == plain.Loss(step, labels).loss);
  CheckRefused("[{type: linear, units: 2}]\nloss: logistic\nlabel_smoothing: 0.1",
               {"label_smoothing", "softmax_cross_entropy"});
}

TEST_CASE("A linear layer reads an image in PyTorch's order") {
  const auto device = MakeCpuDevice(0, 1, -1);
  NetRig rig(device.get(), "layers: [{type: flatten}, {type: linear, units: 1, bias: false}]",
             {1, 0, 0, Dtype::kF32, true, {2, 3, 4}});
  CHECK(rig->params()[0].shape == Shape{1, 24});
  for (int64_t c = 0; c < 4; ++c) {
    for (int64_t pixel = 0; pixel < 6; ++pixel) {
      Floats w(24), x(24);
      w[static_cast<size_t>(c * 6 + pixel)] = 2;
      x[static_cast<size_t>(pixel * 4 + c)] = 3;
      rig.SetParam(0, w);
      CHECK(rig.Param(0) == w);
      CHECK(rig.Forward(TrainStep(1), x) == Floats{6});
    }
  }
}

}  // namespace mariana
