// From a NetSpec to its Graph. NetBuilder is what layer specs see of the net while they append
// their operations. Thread-compatible.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/nn/graph.h"

namespace mariana {

class NetBuilder {
 public:
  explicit NetBuilder(const NetOptions& options);

  // Appends an operation on `inputs`; throws Error(kUsage) naming it when shapes do not fit.
  TensorId Add(const std::string& name, std::unique_ptr<Layer> layer, std::vector<TensorId> inputs);
  // Appends a list of layers one after the other. `scope` goes before their names: "" or
  // "residual1.".
  TensorId AddLayers(const LayerList& layers, const std::string& scope, TensorId x);

  // Throws Error(kUsage), naming `where`, unless `name` may be part of a parameter's name.
  static void CheckName(const std::string& where, const std::string& name);
  // What the layer or block of this whole name computes; -1 where there is none.
  TensorId Find(const std::string& name) const;

  const Shape& shape(TensorId t) const { return graph_.tensors[t].shape; }
  const NetOptions& options() const { return options_; }
  // 0, 1, 2, ...: a layer that draws random numbers adds it to its stream.
  int NextRandomLayer() { return random_layers_++; }

  Graph TakeGraph(TensorId output);

 private:
  NetOptions options_;
  Graph graph_;
  std::set<std::string> names_;
  std::map<std::string, TensorId> blocks_;  // and layers, by whole name
  int random_layers_ = 0;
};

// The whole net's graph, whatever options.split says; its layers are not set up.
Graph CompileWhole(const NetSpec& spec, const NetOptions& options);

// Builds the list (a worker's, with options.split), runs the passes and sets up every layer. Throws
// Error(kUsage) naming the layer. `group`: samples in a batch-norm group.
Graph CompileNet(const NetSpec& spec, const NetOptions& options, int64_t group);

}  // namespace mariana
