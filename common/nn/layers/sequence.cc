// Sequence block: a list of layers under one name, which goes before theirs ("features.0.weight"),
// and which `repeat` repeats as a whole.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct SequenceSpec : LayerSpec {
  LayerList layers;
  const char* type() const override { return "sequence"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Variants("layers", &layers, LayerCatalog(), "One after the other.",
                Rule().Required().Min(1));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->AddLayers(layers, name + ".", x);
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeSequenceSpec() { return std::make_unique<SequenceSpec>(); }

}  // namespace mariana
