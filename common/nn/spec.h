// NetSpec: the `net:` section of a job. Plain structs; thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/device/device.h"

namespace mariana {

class NetBuilder;      // nn/compile.h
using TensorId = int;  // row of a net's tensor table; 0 is the net's input

// One entry of `layers:`. Each layer type derives its own (nn/layers/<type>.cc) with its keys.
struct LayerSpec {
  std::string name;    // default: type and a counter over its list, "linear1"
  int64_t repeat = 1;  // this entry so many times in a row
  virtual ~LayerSpec() = default;
  virtual const char* type() const = 0;
  // Appends this layer's operations on tensor x to the net's list, under `name` (with the names of
  // enclosing blocks, "residual1.linear1"); returns what they compute.
  virtual TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const = 0;
  // Derived types call this first, then describe their own keys.
  virtual void Describe(Fields* f) {
    f->Text("name", &name, "Name in checkpoints and tables; default: the type and a number.");
    f->Int("repeat", &repeat, "Repeat this entry so many times.", Rule().Min(1).Max(1000));
  }
};

using LayerList = std::vector<std::unique_ptr<LayerSpec>>;

// Every layer type: nn/catalog.cc, one row each.
const std::vector<Variant<LayerSpec>>& LayerCatalog();

enum class LossKind { kSoftmaxCrossEntropy, kSquaredError, kLogistic };

struct NetSpec {
  LayerList layers;
  bool needed = true;  // whether there must be layers; not a key
  LossKind loss = LossKind::kSoftmaxCrossEntropy;
  double label_smoothing = 0;  // Szegedy et al. 2016
  int64_t group = 0;  // batch normalisation: samples per group (0: 128 when the net has any)
  void Describe(Fields* f);
};

}  // namespace mariana
