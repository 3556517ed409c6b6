#include "common/nn/graph.h"

#include <algorithm>

#include "common/nn/layers/layers.h"

namespace mariana {

void Relink(Graph* graph) {
  auto& ops = graph->ops;
  ops.erase(std::remove_if(ops.begin(), ops.end(), [](const OpNode& op) { return !op.layer; }),
            ops.end());

  std::vector<bool> named(graph->tensors.size(), false);
  named[0] = named[graph->output] = true;
  if (graph->loss >= 0) named[graph->loss] = true;
  for (const OpNode& op : ops) {
    named[op.output] = true;
    for (TensorId t : op.inputs) named[t] = true;
  }
  std::vector<TensorId> renumbered(graph->tensors.size());
  std::vector<TensorInfo> tensors;
  for (size_t t = 0; t < named.size(); ++t) {
    if (!named[t]) continue;
    renumbered[t] = static_cast<TensorId>(tensors.size());
    tensors.push_back(std::move(graph->tensors[t]));
    tensors.back().producer = -1;
    tensors.back().consumers.clear();
  }
  for (size_t i = 0; i < ops.size(); ++i) {
    for (TensorId& t : ops[i].inputs) {
      t = renumbered[t];
      tensors[t].consumers.push_back(static_cast<int>(i));
    }
    ops[i].output = renumbered[ops[i].output];
    tensors[ops[i].output].producer = static_cast<int>(i);
  }
  graph->output = renumbered[graph->output];
  if (graph->loss >= 0) graph->loss = renumbered[graph->loss];
  graph->tensors = std::move(tensors);
}

void CutAfter(TensorId tensor, Graph* graph) {
  std::vector<bool> needed(graph->tensors.size(), false);
  needed[tensor] = true;
  for (auto op = graph->ops.rbegin(); op != graph->ops.rend(); ++op) {
    if (!needed[op->output]) {
      op->layer = nullptr;
      continue;
    }
    for (TensorId t : op->inputs) needed[t] = true;
  }
  graph->output = tensor;
  Relink(graph);
}

void FuseResiduals(Graph* graph) {
  for (OpNode& op : graph->ops) {
    if (!op.layer->is_add() || op.inputs.size() != 2) continue;
    for (size_t k : {size_t{1}, size_t{0}}) {
      const TensorInfo& x = graph->tensors[op.inputs[k]];
      if (x.producer < 0 || x.consumers.size() != 1) continue;
      OpNode& before = graph->ops[x.producer];
      if (!before.layer->FuseResidual()) continue;
      op.inputs = {before.inputs[0], op.inputs[1 - k]};
      op.name = before.name;
      op.layer = std::move(before.layer);
      break;
    }
  }
  Relink(graph);
}

void FuseActivations(Graph* graph) {
  for (OpNode& op : graph->ops) {
    const std::optional<Activation> activation = op.layer->activation();
    if (!activation) continue;
    const TensorInfo& x = graph->tensors[op.inputs[0]];
    if (x.producer < 0 || x.consumers.size() != 1) continue;
    OpNode& before = graph->ops[x.producer];
    if (!before.layer->FuseActivation(*activation)) continue;
    before.output = op.output;
    graph->tensors[op.output].producer = x.producer;
    op.layer = nullptr;
  }
  Relink(graph);
}

void ChooseDtypes(Graph* graph, Dtype compute) {
  if (compute != Dtype::kF32 && !graph->ops.back().layer->writes_f32()) {
    OpNode convert;
    convert.name = "output";
    convert.layer = MakeConvertLayer();
    convert.inputs = {graph->output};
    convert.output = static_cast<TensorId>(graph->tensors.size());
    graph->tensors.push_back({graph->tensors[graph->output].shape, Dtype::kF32, -1, {}, false});
    graph->output = convert.output;
    graph->ops.push_back(std::move(convert));
    Relink(graph);
  }
  for (TensorInfo& t : graph->tensors) t.dtype = compute;
  graph->tensors[graph->output].dtype = Dtype::kF32;
}

void SplitOffActivation(int op, Graph* graph) {
  OpNode& node = graph->ops[op];
  const Activation activation = node.layer->ReleaseActivation();
  if (activation == Activation::kNone) return;
  OpNode after;
  after.name = node.name + ".activation";
  after.layer = MakeActivationLayer(activation);
  after.layer->Infer({graph->tensors[node.output].shape});
  after.output = node.output;
  node.output = static_cast<TensorId>(graph->tensors.size());
  after.inputs = {node.output};
  graph->tensors.push_back(graph->tensors[after.output]);
  graph->ops.insert(graph->ops.begin() + op + 1, std::move(after));
  Relink(graph);
}

void MarkGradients(Graph* graph, bool train, bool of_input) {
  graph->tensors[0].gradient = train && of_input;
  for (const OpNode& op : graph->ops) {
    bool needed = op.layer->has_parameters();
    for (TensorId t : op.inputs) needed = needed || graph->tensors[t].gradient;
    graph->tensors[op.output].gradient = train && needed;
  }
}

}  // namespace mariana
