// A net as a graph of ONNX operators (https://onnx.ai/onnx/operators, opset 17): what it computes
// in evaluation, operation by operation. nn knows the operators, not the file they end up in.
//
// In the graph a batch of images is [N, channels, height, width], one of vectors [N, columns].
// Dropout and conversions of type are not there; what a layer fuses is written one after the other.
//
// Threading: the trainer thread of the device, like Net.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/shape.h"
#include "common/device/device.h"

namespace mariana {

struct OpAttribute {
  using Ints = std::vector<int64_t>;
  std::string name;
  std::variant<int64_t, float, Ints> value;
};

// Takes the operators in topological order. Values have names: the one asked for, or, where it is
// taken, another one; the functions return it.
class GraphWriter {
 public:
  virtual ~GraphWriter() = default;
  // An operator with one output, called `name`.
  virtual std::string Node(const std::string& op, const std::string& name,
                           const std::vector<std::string>& inputs,
                           const std::vector<OpAttribute>& attributes = {}) = 0;
  virtual std::string Floats(const std::string& name, const Shape& shape,
                             std::vector<float> values) = 0;
  virtual std::string Integers(const std::string& name, const Shape& shape,
                               std::vector<int64_t> values) = 0;  // i64
};

// One operation of the net, for Layer::Export. A layer calls its last operator `name`, others
// name + ".what".
struct ExportArgs {
  std::string name;
  std::vector<std::string> x;  // inputs
  std::vector<Shape> in;       // their samples, as the net has them ([height, width, channels])
  Shape out;                   // of the output
  std::vector<std::string> w;  // parameters, in their plain layout
  std::vector<std::string> states;  // running averages
};

// The operator of an activation on x; x itself for kNone.
std::string ExportActivation(Activation activation, const std::string& name, const std::string& x,
                             GraphWriter* graph);
// x as [N, columns]; an image's columns are channel, height, width, as in PyTorch.
std::string ExportFlat(const Shape& sample, const std::string& name, const std::string& x,
                       GraphWriter* graph);

struct Graph;
class Parameters;

// Net::Export. Parameters are constants under their names ("linear1.weight").
std::string ExportGraph(const Graph& net, const Parameters& parameters, Device* device,
                        const std::string& input, GraphWriter* graph);

}  // namespace mariana
