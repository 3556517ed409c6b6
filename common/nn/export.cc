#include "common/nn/export.h"

#include "common/nn/graph.h"
#include "common/nn/parameters.h"

namespace mariana {
namespace {

std::vector<float> Fetch(Device* device, const float* from, int64_t n) {
  std::vector<float> host(static_cast<size_t>(n));
  device->Download(host.data(), from, n * SizeOf(Dtype::kF32));
  return host;
}

}  // namespace

std::string ExportActivation(Activation activation, const std::string& name, const std::string& x,
                             GraphWriter* graph) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kSigmoid: return graph->Node("Sigmoid", name, {x});
    case Activation::kTanh: return graph->Node("Tanh", name, {x});
    case Activation::kRelu: return graph->Node("Relu", name, {x});
  }
  return x;
}

std::string ExportFlat(const Shape& sample, const std::string& name, const std::string& x,
                       GraphWriter* graph) {
  if (sample.rank() == 1) return x;
  return graph->Node("Flatten", name, {x}, {{"axis", int64_t{1}}});
}

std::string ExportGraph(const Graph& net, const Parameters& parameters, Device* device,
                        const std::string& input, GraphWriter* graph) {
  std::vector<std::string> names(net.tensors.size());
  names[0] = input;
  size_t param = 0, state = 0;
  for (const OpNode& op : net.ops) {
    ExportArgs a;
    a.name = op.name;
    a.out = net.tensors[op.output].shape;
    for (TensorId t : op.inputs) {
      a.x.push_back(names[t]);
      a.in.push_back(net.tensors[t].shape);
    }
    for (size_t i = 0; i < op.decl.params.size(); ++i, ++param) {
      const ParamInfo& p = parameters.params()[param];
      std::vector<float> plain(static_cast<size_t>(p.shape.elements()));
      parameters.Unpack(static_cast<int>(param),
                        Fetch(device, parameters.values() + p.offset, p.elements).data(),
                        plain.data());
      a.w.push_back(graph->Floats(p.name, p.shape, std::move(plain)));
    }
    for (size_t i = 0; i < op.decl.states.size(); ++i, ++state) {
      const StateInfo& s = parameters.states()[state];
      const float* from = parameters.state().f32() + s.offset;
      a.states.push_back(graph->Floats(s.name, s.shape, Fetch(device, from, s.shape.elements())));
    }
    names[op.output] = op.layer->Export(a, graph);
  }
  return names[net.output];
}

}  // namespace mariana
