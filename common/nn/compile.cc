#include "common/nn/compile.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>

#include "common/nn/split_plan.h"

namespace mariana {
namespace {

void SetupLayers(Graph* graph, const NetOptions& options, int64_t group) {
  for (OpNode& op : graph->ops) {
    SetupArgs args;
    args.device = options.device;
    args.max_rows = options.max_rows;
    args.max_groups = (options.max_rows + group - 1) / group;
    for (TensorId t : op.inputs) args.in.push_back(&graph->tensors[t]);
    args.out = &graph->tensors[op.output];
    try {
      op.decl = op.layer->Setup(args);
    } catch (const Error& e) {
      throw Fail(e.code(), "net: layer ", op.name, ": ", e.message());
    }
    CHECK_EQ(op.layer->has_parameters(), !op.decl.params.empty()) << op.name;
  }
}

}  // namespace

NetBuilder::NetBuilder(const NetOptions& options) : options_(options) {
  graph_.tensors.push_back({options.input, options.compute, -1, {}, false});
}

TensorId NetBuilder::Add(const std::string& name, std::unique_ptr<Layer> layer,
                         std::vector<TensorId> inputs) {
  if (!names_.insert(name).second) {
    throw LayerError(name, "two layers have this name: give one of them another `name`");
  }
  TensorInfo out;
  std::vector<Shape> shapes;
  for (TensorId t : inputs) shapes.push_back(shape(t));
  try {
    out.shape = layer->Infer(shapes);
  } catch (const Error& e) {
    throw LayerError(name, e.message());
  }
  OpNode op;
  op.name = name;
  op.layer = std::move(layer);
  op.inputs = std::move(inputs);
  op.output = static_cast<TensorId>(graph_.tensors.size());
  graph_.tensors.push_back(std::move(out));
  graph_.ops.push_back(std::move(op));
  return graph_.ops.back().output;
}

// Letters, digits, '_' and '-': names become keys ("hidden.weight") and file names.
void NetBuilder::CheckName(const std::string& where, const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-';
  });
  if (plain) return;
  throw LayerError(where, "name ", name,
                   ": a name is of letters, digits, '_' and '-'; a sequence "
                   "of a name goes before those of its layers with a dot");
}

TensorId NetBuilder::Find(const std::string& name) const {
  const auto found = blocks_.find(name);
  return found == blocks_.end() ? -1 : found->second;
}

TensorId NetBuilder::AddLayers(const LayerList& layers, const std::string& scope, TensorId x) {
  std::map<std::string, int> counters;
  for (const auto& layer : layers) {
    CheckName(scope + layer->name, layer->name);
    for (int64_t i = 0; i < layer->repeat; ++i) {
      std::string name = layer->name;
      if (name.empty()) {
        name = layer->type() + std::to_string(++counters[layer->type()]);
      } else if (layer->repeat > 1) {
        name += std::to_string(i + 1);
      }
      x = layer->Build(this, scope + name, x);
      blocks_[scope + name] = x;
    }
  }
  return x;
}

Graph NetBuilder::TakeGraph(TensorId output) {
  graph_.output = output;
  Relink(&graph_);
  return std::move(graph_);
}

Graph CompileWhole(const NetSpec& spec, const NetOptions& options) {
  CHECK_GT(options.max_rows, 0);
  CHECK_GT(options.input.elements(), 0);
  NetBuilder builder(options);
  const TensorId end = builder.AddLayers(spec.layers, "", 0);
  const TensorId cut = options.until.empty() ? end : builder.Find(options.until);
  if (cut < 0) {
    throw Fail(ExitCode::kUsage, "net: no layer or block is named ", options.until);
  }
  Graph graph = builder.TakeGraph(end);
  if (cut != end) CutAfter(cut, &graph);
  if (graph.ops.empty()) {
    throw Fail(ExitCode::kUsage, "net: needs at least one layer that computes");
  }
  const int64_t outputs = graph.tensors[graph.output].shape.elements();
  if (options.until.empty() && options.outputs > 0 && outputs != options.outputs) {
    throw LayerError(graph.ops.back().name, "the last layer has ", outputs,
                     " outputs, the data needs ", options.outputs);
  }
  FuseResiduals(&graph);
  FuseActivations(&graph);
  ChooseDtypes(&graph, options.compute);
  MarkGradients(&graph, options.train, options.input_gradient);
  graph.loss = graph.output;
  return graph;
}

Graph CompileNet(const NetSpec& spec, const NetOptions& options, int64_t group) {
  Graph graph = CompileWhole(spec, options);
  if (options.split) {
    graph = SplitGraph(*options.split, options.worker, options.transfers, std::move(graph));
  }
  SetupLayers(&graph, options, group);
  return graph;
}

}  // namespace mariana
