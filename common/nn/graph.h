// Graph: a net as a flat list of operations in topological order over a table of tensors. Passes
// (fusion, dtypes, gradients, later the insertion of transfers) and the memory plan work on it.
// A value; thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/nn/layer.h"

namespace mariana {

struct OpNode {
  std::string name;  // "residual1.linear1"; of a fused one: of what has the parameters
  std::unique_ptr<Layer> layer;
  std::vector<TensorId> inputs;
  TensorId output = 0;
  LayerDecl decl;  // set by Setup
  // Of workers that share a net and all do this: whether this one's counts in sums over them.
  bool counts = true;
};

struct Graph {
  std::vector<TensorInfo> tensors;  // 0 is the net's input
  std::vector<OpNode> ops;
  TensorId output = 0;
  // What the loss is computed of: the output, or, of a net that several workers share, this one's
  // columns of it; -1 where it has none.
  TensorId loss = 0;

  // Whether the op has a backward pass: not if it leads only to an input without a gradient.
  bool RunsBackward(int op) const { return tensors[ops[op].output].gradient; }
};

// After a pass: drops ops without a layer and tensors that nothing names, renumbers the rest and
// sets producers and consumers anew.
void Relink(Graph* graph);

// Passes.
// Drops what the tensor does not need, and makes it the output.
void CutAfter(TensorId tensor, Graph* graph);
// An addition of two into the op before that makes one of them, where that can take it: this one
// moves to the addition's place in the list, and reads the other as its second input.
void FuseResiduals(Graph* graph);
void FuseActivations(Graph* graph);  // into the op before, where that can take it
// Everything in `compute`, the output in fp32: written so by the last op, or by an op added for it.
void ChooseDtypes(Graph* graph, Dtype compute);
// The activation of an op becomes an operation of its own ("<name>.activation").
void SplitOffActivation(int op, Graph* graph);
// Gradients are needed where a parameter lies behind, or the input with `of_input`; none without
// `train`.
void MarkGradients(Graph* graph, bool train, bool of_input);

}  // namespace mariana
