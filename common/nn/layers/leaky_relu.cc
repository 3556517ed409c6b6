// Leaky ReLU (Maas et al. 2013): x, or slope * x where x is below 0.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class LeakyRelu : public Layer {
 public:
  explicit LeakyRelu(double slope) : slope_(static_cast<float>(slope)) {}
  const char* type() const override { return "leaky_relu"; }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }
  Division division() const override { return Elementwise(); }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = args.out->shape.elements();
    dtype_ = args.in[0]->dtype;
    LayerDecl decl;
    decl.backward_reads_output = true;
    decl.gradient_in_place = true;
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->LeakyRelu(a.x[0], a.y, slope_, step.rows * columns_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->LeakyReluBackward(a.y, a.dy, a.dx[0], slope_, step.rows * columns_, dtype_);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    return graph->Node("LeakyRelu", a.name, {a.x[0]}, {{"alpha", slope_}});
  }

 private:
  const float slope_;
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

struct LeakyReluSpec : LayerSpec {
  double slope = 0.01;
  const char* type() const override { return "leaky_relu"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Real("slope", &slope, "Below 0.", Rule().Above(0));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<LeakyRelu>(slope), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeLeakyReluSpec() { return std::make_unique<LeakyReluSpec>(); }

}  // namespace mariana
