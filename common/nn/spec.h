// NetSpec: the `net:` section of a job. Plain structs; thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/device/device.h"

namespace mariana {

// One entry of `layers:`. Each layer type derives its own (nn/layers/<type>.cc) with its keys.
struct LayerSpec {
  std::string name;       // default: type and a counter over the net, "linear1"
  int64_t repeat = 1;     // this entry so many times in a row
  virtual ~LayerSpec() = default;
  virtual const char* type() const = 0;
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
  LossKind loss = LossKind::kSoftmaxCrossEntropy;
  int64_t group = 0;  // batch normalisation: samples per group (0: 128 when the net has any)
  void Describe(Fields* f);
};

}  // namespace mariana
