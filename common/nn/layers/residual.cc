// Residual block (He et al. 2016): y = x + layers(x), or, where their widths differ, a linear
// projection of x (no bias, "<name>.projection") + layers(x).
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct ResidualSpec : LayerSpec {
  LayerList layers;
  const char* type() const override { return "residual"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Variants("layers", &layers, LayerCatalog(), "What is added to the block's input.",
                Rule().Required().Min(1));
  }

  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    const TensorId body = net->AddLayers(layers, name + ".", x);
    if (net->shape(x) != net->shape(body)) {
      LinearOptions projection;
      projection.units = net->shape(body).elements();
      projection.bias = false;
      x = net->Add(name + ".projection", MakeLinearLayer(projection), {x});
    }
    return net->Add(name, MakeAddLayer(), {x, body});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeResidualSpec() { return std::make_unique<ResidualSpec>(); }

}  // namespace mariana
