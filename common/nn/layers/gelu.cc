// GELU (Hendrycks and Gimpel 2016), exact: x times the normal distribution function of x.
#include <cmath>

#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class Gelu : public Layer {
 public:
  const char* type() const override { return "gelu"; }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }
  Division division() const override { return Elementwise(); }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = args.out->shape.elements();
    dtype_ = args.in[0]->dtype;
    LayerDecl decl;
    decl.backward_reads_inputs = 1;
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->Gelu(a.x[0], a.y, step.rows * columns_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->GeluBackward(a.x[0], a.dy, a.dx[0], step.rows * columns_, dtype_);
  }
  // x / 2 * (1 + erf(x / sqrt(2))): opset 17 has no Gelu.
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    const auto number = [&](const char* what, float v) {
      return graph->Floats(a.name + what, Shape{}, {v});
    };
    const std::string scaled =
        graph->Node("Mul", a.name + ".scaled", {a.x[0], number(".scale", std::sqrt(0.5f))});
    const std::string erf = graph->Node("Erf", a.name + ".erf", {scaled});
    const std::string share = graph->Node("Add", a.name + ".share", {erf, number(".one", 1)});
    const std::string twice = graph->Node("Mul", a.name + ".twice", {a.x[0], share});
    return graph->Node("Mul", a.name, {twice, number(".half", 0.5f)});
  }

 private:
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

struct GeluSpec : LayerSpec {
  const char* type() const override { return "gelu"; }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<Gelu>(), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeGeluSpec() { return std::make_unique<GeluSpec>(); }

}  // namespace mariana
