// OnnxGraph: operators and constants on their way into an ONNX file
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), IR version 8, opset 17. The seven
// messages it needs are written with common/base/protobuf.h; constants are streamed, so a model is
// in memory once. Thread-compatible.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/nn/export.h"

namespace mariana {

// An input or output of the model: [rows, sample...], where the number of rows is free.
struct OnnxValue {
  std::string name;
  Dtype dtype = Dtype::kF32;  // kF32 or kU8
  std::string rows = "batch";
  Shape sample;
};

// What the file says beside the graph.
struct OnnxDescription {
  std::string producer, version;  // the program's
  std::string text;
  std::map<std::string, std::string> metadata;
};

class OnnxGraph : public GraphWriter {
 public:
  OnnxGraph(OnnxValue input, OnnxValue output);

  std::string Node(const std::string& op, const std::string& name,
                   const std::vector<std::string>& inputs,
                   const std::vector<OpAttribute>& attributes = {}) override;
  std::string Floats(const std::string& name, const Shape& shape,
                     std::vector<float> values) override;
  std::string Integers(const std::string& name, const Shape& shape,
                       std::vector<int64_t> values) override;

  // Makes `value`, which an operator computes, the model's output.
  void Finish(const std::string& value);
  // Throws Error(kUsage) where the file would pass the format's limit of 2 GiB.
  void Write(const OnnxDescription& description, const std::string& path) const;

 private:
  struct NodeInfo {
    std::string op, output;
    std::vector<std::string> inputs;
    std::vector<OpAttribute> attributes;
  };
  struct ConstantInfo {
    std::string name;
    Shape shape;
    std::vector<float> floats;
    std::vector<int64_t> integers;  // where floats is empty
  };
  std::string Unique(const std::string& name);

  OnnxValue input_, output_;
  std::vector<NodeInfo> nodes_;
  std::vector<ConstantInfo> constants_;
  std::set<std::string> names_;
};

}  // namespace mariana
