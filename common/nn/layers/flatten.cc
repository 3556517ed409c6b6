// Flatten builds nothing: a linear layer reads an image in PyTorch's order (channel, height, width)
// by the order of its weights' columns. It is there for the reader, and for numbers in names.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct FlattenSpec : LayerSpec {
  const char* type() const override { return "flatten"; }
  TensorId Build(NetBuilder*, const std::string&, TensorId x) const override { return x; }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeFlattenSpec() { return std::make_unique<FlattenSpec>(); }

}  // namespace mariana
