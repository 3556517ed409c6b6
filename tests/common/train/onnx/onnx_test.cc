#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "common/base/files.h"
#include "common/train/onnx/image_model.h"
#include "common/train/onnx/onnx_graph.h"
#include "tests/common/nn/net_rig.h"
#include "tests/common/train/onnx/proto_reader.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

using Texts = std::vector<std::string>;

// ONNX's field numbers: onnx.proto.
struct Attribute {
  int64_t i = 0;
  float f = 0;
  std::vector<int64_t> ints;
};
struct Node {
  std::string op;
  Texts inputs;
  std::map<std::string, Attribute> attributes;
};

// A file taken apart. Reading checks what every consumer relies on: values are made before they are
// used and once only, constants have as many bytes as their shape says.
struct Model {
  explicit Model(const std::string& path) : file(ReadFile(path)) {
    CHECK(file.number(1) == 8);
    CHECK(file.message(8).number(2) == 17);
    const ProtoReader graph = file.message(7);
    input = graph.message(11);
    output = graph.message(12);
    std::set<std::string> known = {input.bytes(1)};
    for (const ProtoReader& t : graph.messages(5)) {
      CHECK(known.insert(t.bytes(8)).second);
      std::vector<int64_t> dims;
      for (const ProtoField& d : t.all(1)) dims.push_back(static_cast<int64_t>(d.number));
      const std::string& raw = t.bytes(9);
      const size_t width = t.number(2) == 7 ? 8 : 4;
      REQUIRE(raw.size() == static_cast<size_t>(Shape(dims).elements()) * width);
      std::vector<float> values(t.number(2) == 1 ? raw.size() / 4 : 0);
      if (!values.empty()) std::memcpy(values.data(), raw.data(), raw.size());
      constants[t.bytes(8)] = {Shape(dims), values};
    }
    for (const ProtoReader& n : graph.messages(1)) {
      Node node{n.bytes(4), n.texts(1), {}};
      for (const std::string& x : node.inputs) CHECK(known.count(x) == 1);
      CHECK(known.insert(n.bytes(2)).second);
      for (const ProtoReader& a : n.messages(5)) {
        Attribute& attribute = node.attributes[a.bytes(1)];
        switch (a.number(20)) {
          case 1: std::memcpy(&attribute.f, a.bytes(2).data(), 4); break;
          case 2: attribute.i = static_cast<int64_t>(a.number(3)); break;
          default:
            for (const ProtoField& i : a.all(8)) {
              attribute.ints.push_back(static_cast<int64_t>(i.number));
            }
        }
      }
      nodes.emplace(n.bytes(2), node);
      ops.push_back(node.op);
    }
    CHECK(known.count(output.bytes(1)) == 1);
    for (const ProtoReader& m : file.messages(14)) metadata[m.bytes(1)] = m.bytes(2);
  }

  // "name: f32 [batch, 3]" of an input or output.
  static std::string Describe(const ProtoReader& value) {
    const ProtoReader tensor = value.message(2).message(1);
    std::string text = value.bytes(1) + (tensor.number(1) == 2 ? ": u8 [" : ": f32 [");
    for (const ProtoReader& d : tensor.message(2).messages(1)) {
      text += (text.back() == '[' ? "" : ", ") +
              (d.all(1).empty() ? d.bytes(2) : std::to_string(d.number(1)));
    }
    return text + "]";
  }

  ProtoReader file, input{""}, output{""};
  std::map<std::string, std::pair<Shape, std::vector<float>>> constants;
  std::map<std::string, Node> nodes;  // by output
  Texts ops;
  std::map<std::string, std::string> metadata;
};

std::unique_ptr<Net> MakeNet(Device* device, const std::string& yaml, const Shape& input) {
  NetSpec spec;
  LoadConfigText(yaml, "net.yaml", ".", {}, [&](Fields* f) { spec.Describe(f); });
  NetOptions options;
  options.device = device;
  options.max_rows = 1;
  options.input = input;
  options.outputs = 2;
  options.train = false;
  std::unique_ptr<Net> net = Net::Build(spec, options);
  net->Initialize(1);
  return net;
}

ImageModelInfo Info() {
  ImageModelInfo info;
  info.program = "mariana_cnn";
  info.version = "1";
  info.mean = {0.5, 0.25, 0};
  info.std = {0.5, 1, 0.2};
  info.classes = {"cat", "\"dog\""};
  info.preprocessing = "shorter side to 8, middle 2 x 2";
  return info;
}

Model Exported(const std::string& yaml, const Shape& input, const OnnxImageSpec& spec = {},
               const ImageModelInfo& info = Info()) {
  const ScratchFolder scratch;
  const auto device = MakeCpuDevice(0, 1, -1);
  ExportImageModel(MakeNet(device.get(), yaml, input).get(), spec, info, scratch / "m.onnx");
  return Model(scratch / "m.onnx");
}

const char kLinear[] = "layers: [{type: linear}]";

}  // namespace

TEST_CASE("A graph's file is byte for byte what onnx.proto says") {
  const ScratchFolder scratch;
  OnnxGraph graph({"x", Dtype::kU8, "n", {2}}, {"y", Dtype::kF32, "n", {1}});
  const std::string k = graph.Floats("k", {1}, {1});
  graph.Finish(graph.Node("Pad", "z", {"x", k}, {{"i", int64_t{300}}}));
  graph.Write({"p", "v", "t", {{"a", "b"}}}, scratch / "m.onnx");
  const std::string node = std::string("\x0a\x01x\x0a\x01k\x12\x01y\x1a\x01y\x22\x03Pad", 17) +
                           std::string("\x2a\x09\x0a\x01i\x18\xac\x02\xa0\x01\x02", 11);
  const std::string constant("\x08\x01\x10\x01\x42\x01k\x4a\x04\0\0\x80\x3f", 13);
  const std::string in("\x0a\x01x\x12\x0f\x0a\x0d\x08\x02\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x02",
                       20);
  const std::string out(
      "\x0a\x01y\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x01", 20);
  const auto part = [](char key, const std::string& bytes) {
    return std::string{key, static_cast<char>(bytes.size())} + bytes;
  };
  CHECK(ReadFile(scratch / "m.onnx") ==
        std::string("\x08\x08\x12\x01p\x1a\x01v\x32\x01t\x42\x04\x0a\0\x10\x11", 17) +
            std::string("\x72\x06\x0a\x01\x61\x12\x01\x62", 8) +
            part('\x3a', part('\x0a', node) + part('\x12', "p") + part('\x5a', in) +
                             part('\x62', out) + part('\x2a', constant)));
}

TEST_CASE("What layers fuse is written one after the other, dropout not at all") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const Model model = Exported(
      "layers:\n"
      "- {type: linear, units: 4, activation: tanh}\n"
      "- {type: batch_norm, epsilon: 0.01}\n"
      "- {type: dropout}\n"
      "- {type: residual, layers: [{type: linear, units: 4, bias: false}, {type: sigmoid}]}\n"
      "- {type: branch, branches: [{layers: []}, {layers: [{type: relu}]}]}\n"
      "- {type: linear}\n",
      {1, 1, 3});
  CHECK(model.ops == Texts{"Mul", "Add", "Flatten", "Gemm", "Tanh", "BatchNormalization", "Gemm",
                           "Sigmoid", "Add", "Relu", "Concat", "Gemm"});
  const Node& norm = model.nodes.at("batch_norm1");
  CHECK(norm.attributes.at("epsilon").f == 0.01f);
  CHECK(norm.inputs == Texts{"linear1", "batch_norm1.weight", "batch_norm1.bias",
                             "batch_norm1.running_mean", "batch_norm1.running_var"});
  CHECK(model.constants.at("batch_norm1.running_var").second == std::vector<float>(4, 1));
  CHECK(model.nodes.at("residual1").inputs == Texts{"batch_norm1", "residual1.linear1"});
  CHECK(model.nodes.at("branch1").attributes.at("axis").i == 1);
  const Node& last = model.nodes.at("logits");
  CHECK(last.inputs == Texts{"branch1", "linear2.weight", "linear2.bias"});
  CHECK(last.attributes.at("transB").i == 1);
  CHECK(model.constants.at("linear2.weight").first == Shape{2, 8});
}

TEST_CASE("Layers of click models are made of ONNX's own operators") {
  const Model model = Exported(
      "layers:\n"
      "- {type: linear, units: 6}\n"
      "- {type: slice, begin: 2, size: 4}\n"
      "- {type: cross, layers: 2, rank: 1}\n"
      "- {type: branch, branches: [{layers: [{type: dots, size: 1}]}, {layers: []}]}\n"
      "- {type: linear}\n",
      {1, 1, 3});
  CHECK(model.ops == Texts{"Mul",       "Add",    "Flatten", "Gemm",   "Slice",  "Gemm", "Gemm",
                           "Mul",       "Add",    "Gemm",    "Gemm",   "Mul",    "Add",  "Reshape",
                           "Transpose", "MatMul", "Reshape", "Gather", "Concat", "Gemm"});
  CHECK(model.nodes.at("cross1.product1").inputs == Texts{"cross1.product1.mul", "slice1"});
  CHECK(model.nodes.at("cross1.mul").inputs == Texts{"slice1", "cross1.up2"});
  CHECK(model.nodes.at("branch1.0.dots1").attributes.at("axis").i == 1);
  CHECK(model.constants.at("branch1.0.dots1.above").first == Shape{6});
}

TEST_CASE("Constants are the net's values in their plain layout") {
  const auto device = MakeCpuDevice(0, 1, -1);
  NetRig rig(device.get(), kLinear, {1, 3, 2});
  const Model model = Exported(kLinear, {1, 1, 3});
  CHECK(model.constants.at("linear1.weight").second == rig.Param(rig.Find("linear1.weight")));
}

TEST_CASE("Pixels are normalised inside, in any order and type") {
  Model model = Exported(kLinear, {2, 4, 3});
  CHECK(Model::Describe(model.input) == "input: f32 [batch, 3, 2, 4]");
  CHECK(Model::Describe(model.output) == "logits: f32 [batch, 2]");
  const auto& [shape, scale] = model.constants.at("input.scale");
  CHECK(shape == Shape{1, 3, 1, 1});
  const std::vector<float>& shift = model.constants.at("input.shift").second;
  for (size_t c = 0; c < 3; ++c) {
    const ImageModelInfo info = Info();
    CHECK(scale[c] * 51 + shift[c] == Approx((0.2 - info.mean[c]) / info.std[c]).margin(1e-6));
  }
  CHECK(model.metadata.at("preprocessing") == "shorter side to 8, middle 2 x 2");
  CHECK(model.metadata.at("input") == "NCHW, f32, RGB, values 0 to 255");
  CHECK(nlohmann::json::parse(model.metadata.at("classes"))[1] == "\"dog\"");
  CHECK(model.file.bytes(2) == "mariana_cnn");

  OnnxImageSpec spec{PixelLayout::kNhwc, Dtype::kU8, true};
  model = Exported(kLinear, {2, 4, 3}, spec);
  CHECK(Model::Describe(model.input) == "input: u8 [batch, 2, 4, 3]");
  CHECK(Model::Describe(model.output) == "probabilities: f32 [batch, 2]");
  CHECK(model.ops == Texts{"Cast", "Transpose", "Mul", "Add", "Flatten", "Gemm", "Softmax"});
  CHECK(model.nodes.at("input.nchw").attributes.at("perm").ints ==
        std::vector<int64_t>{0, 3, 1, 2});
  ImageModelInfo info = Info();
  info.loss = LossKind::kLogistic;
  CHECK(Exported(kLinear, {2, 4, 3}, spec, info).ops.back() == "Sigmoid");
  info.loss = LossKind::kSquaredError;
  CHECK(Exported(kLinear, {2, 4, 3}, spec, info).ops.back() == "Gemm");
}

TEST_CASE("Layers may have names that the file uses itself") {
  const Model model = Exported(
      "layers: [{type: linear, name: input, units: 3}, {type: linear, name: logits}, "
      "{type: dropout}]",
      {1, 1, 3});
  CHECK(model.nodes.at("logits").inputs.at(0) == "input_2");
  CHECK(model.constants.count("input.weight") == 1);
}

}  // namespace mariana
