// Residual block (He et al. 2016): y = activation(x + layers(x)). Where layers(x) has another shape
// than x, a shortcut brings x to it: the block's own (for images a 1x1 convolution and batch norm),
// or for columns a linear projection (no bias, "<name>.projection").
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct ResidualSpec : LayerSpec {
  LayerList layers, shortcut;
  std::string shortcut_name = "shortcut";
  Activation activation = Activation::kNone;
  const char* type() const override { return "residual"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Variants("layers", &layers, LayerCatalog(), "What is added to the block's input.",
                Rule().Required().Min(1));
    f->Variants("shortcut", &shortcut, LayerCatalog(),
                "What the block's input goes through before; empty: nothing, or a linear "
                "projection where the widths of columns differ.");
    f->Text("shortcut_name", &shortcut_name, "Goes before the names of the shortcut's layers.");
    f->Require(!shortcut_name.empty(), "shortcut_name", "must not be empty");
    f->Choice("activation", &activation, ActivationNames(), "Applied to the sum.");
  }

  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    const TensorId body = net->AddLayers(layers, name + ".", x);
    const TensorId way = Shortcut(net, name, x, net->shape(body));
    const bool plain = activation == Activation::kNone;
    const TensorId sum = net->Add(plain ? name : name + ".add", MakeAddLayer(), {way, body});
    return plain ? sum : net->Add(name, MakeActivationLayer(activation), {sum});
  }

 private:
  TensorId Shortcut(NetBuilder* net, const std::string& name, TensorId x, const Shape& to) const {
    if (!shortcut.empty()) {
      net->CheckName(name, shortcut_name);
      return net->AddLayers(shortcut, name + "." + shortcut_name + ".", x);
    }
    const Shape& from = net->shape(x);
    if (from == to) return x;
    if (IsImage(from) || IsImage(to)) {
      throw LayerError(name, "its input is ", from.ToString(), " and its layers make ",
                       to.ToString(),
                       ": give it a `shortcut`, a conv with kernel: 1 and the stride "
                       "and channels that it takes, and a batch_norm");
    }
    LinearOptions projection;
    projection.units = to.elements();
    projection.bias = false;
    return net->Add(name + ".projection", MakeLinearLayer(projection), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeResidualSpec() { return std::make_unique<ResidualSpec>(); }

}  // namespace mariana
