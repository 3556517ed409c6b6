#include "common/train/onnx/onnx_graph.h"

#include <glog/logging.h>

#include <limits>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/protobuf.h"

namespace mariana {
namespace {

constexpr int kIrVersion = 8, kOpset = 17;
// TensorProto.DataType
enum DataType { kFloat = 1, kUint8 = 2, kInt64 = 7 };
// AttributeProto.AttributeType
enum AttributeType { kFloatAttribute = 1, kIntAttribute = 2, kIntsAttribute = 7 };

// AttributeProto: name = 1, f = 2, i = 3, ints = 8, type = 20.
ProtoMessage Attribute(const OpAttribute& a) {
  ProtoMessage out;
  out.Bytes(1, a.name);
  if (const auto* f = std::get_if<float>(&a.value))
    return out.Float(2, *f).Int(20, kFloatAttribute);
  if (const auto* i = std::get_if<int64_t>(&a.value)) return out.Int(3, *i).Int(20, kIntAttribute);
  for (int64_t i : std::get<OpAttribute::Ints>(a.value)) out.Int(8, i);
  return out.Int(20, kIntsAttribute);
}

// ValueInfoProto: name = 1, type = 2 {tensor_type = 1 {elem_type = 1, shape = 2 {dim = 1
// {dim_value = 1, dim_param = 2}}}}.
ProtoMessage ValueInfo(const OnnxValue& v) {
  ProtoMessage shape;
  shape.Message(1, ProtoMessage().Bytes(2, v.rows));
  for (int64_t d : v.sample.dims()) shape.Message(1, ProtoMessage().Int(1, d));
  ProtoMessage tensor;
  tensor.Int(1, v.dtype == Dtype::kU8 ? kUint8 : kFloat).Message(2, shape);
  return ProtoMessage().Bytes(1, v.name).Message(2, ProtoMessage().Message(1, tensor));
}

}  // namespace

OnnxGraph::OnnxGraph(OnnxValue input, OnnxValue output)
    : input_(std::move(input)), output_(std::move(output)), names_{input_.name, output_.name} {}

std::string OnnxGraph::Unique(const std::string& name) {
  std::string free = name;
  for (int i = 2; !names_.insert(free).second; ++i) free = StrCat(name, "_", i);
  return free;
}

std::string OnnxGraph::Node(const std::string& op, const std::string& name,
                            const std::vector<std::string>& inputs,
                            const std::vector<OpAttribute>& attributes) {
  nodes_.push_back({op, Unique(name), inputs, attributes});
  return nodes_.back().output;
}

std::string OnnxGraph::Floats(const std::string& name, const Shape& shape,
                              std::vector<float> values) {
  CHECK_EQ(shape.elements(), static_cast<int64_t>(values.size())) << name;
  constants_.push_back({Unique(name), shape, std::move(values), {}});
  return constants_.back().name;
}

std::string OnnxGraph::Integers(const std::string& name, const Shape& shape,
                                std::vector<int64_t> values) {
  CHECK_EQ(shape.elements(), static_cast<int64_t>(values.size())) << name;
  constants_.push_back({Unique(name), shape, {}, std::move(values)});
  return constants_.back().name;
}

void OnnxGraph::Finish(const std::string& value) {
  if (!nodes_.empty() && nodes_.back().output == value) {
    nodes_.back().output = output_.name;
  } else {
    nodes_.push_back({"Identity", output_.name, {value}, {}});
  }
}

// ModelProto: ir_version = 1, producer_name = 2, producer_version = 3, doc_string = 6, graph = 7,
// opset_import = 8 {version = 2}, metadata_props = 14 {key = 1, value = 2}.
// GraphProto: node = 1, name = 2, initializer = 5, input = 11, output = 12.
// NodeProto: input = 1, output = 2, name = 3, op_type = 4, attribute = 5.
// TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9 (little-endian, as memory is).
void OnnxGraph::Write(const OnnxDescription& description, const std::string& path) const {
  ProtoMessage graph;
  for (const NodeInfo& n : nodes_) {
    ProtoMessage node;
    for (const std::string& x : n.inputs) node.Bytes(1, x);
    node.Bytes(2, n.output).Bytes(3, n.output).Bytes(4, n.op);
    for (const OpAttribute& a : n.attributes) node.Message(5, Attribute(a));
    graph.Message(1, node);
  }
  graph.Bytes(2, description.producer);
  graph.Message(11, ValueInfo(input_)).Message(12, ValueInfo(output_));

  // Each constant: what comes before its bytes, with the lengths of the messages around it.
  std::vector<std::pair<std::string, std::string_view>> tensors;
  uint64_t bytes = graph.bytes().size();
  for (const ConstantInfo& c : constants_) {
    const bool floats = c.integers.empty();
    const std::string_view raw =
        floats ? std::string_view(reinterpret_cast<const char*>(c.floats.data()),
                                  c.floats.size() * sizeof(float))
               : std::string_view(reinterpret_cast<const char*>(c.integers.data()),
                                  c.integers.size() * sizeof(int64_t));
    ProtoMessage tensor;
    for (int64_t d : c.shape.dims()) tensor.Int(1, d);
    tensor.Int(2, floats ? kFloat : kInt64).Bytes(8, c.name).Head(9, raw.size());
    const std::string& head = tensor.bytes();
    tensors.emplace_back(ProtoMessage().Head(5, head.size() + raw.size()).bytes() + head, raw);
    bytes += tensors.back().first.size() + raw.size();
  }

  ProtoMessage model;
  model.Int(1, kIrVersion).Bytes(2, description.producer).Bytes(3, description.version);
  model.Bytes(6, description.text).Message(8, ProtoMessage().Bytes(1, "").Int(2, kOpset));
  for (const auto& [key, value] : description.metadata) {
    model.Message(14, ProtoMessage().Bytes(1, key).Bytes(2, value));
  }
  model.Head(7, bytes);
  if (model.bytes().size() + bytes > std::numeric_limits<int32_t>::max()) {
    throw Fail(ExitCode::kUsage, path, ": the model takes ", model.bytes().size() + bytes,
               " bytes, an ONNX file holds less than 2 GiB: export it as .safetensors");
  }
  FileWriter out(path);
  out.Append(model.bytes().data(), model.bytes().size());
  out.Append(graph.bytes().data(), graph.bytes().size());
  for (const auto& [head, raw] : tensors) {
    out.Append(head.data(), head.size());
    out.Append(raw.data(), raw.size());
  }
  out.Finish();
}

}  // namespace mariana
