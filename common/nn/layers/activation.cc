// Sigmoid, tanh and relu as layers of their own. After a linear layer, a convolution or (relu)
// batch norm they are fused into it.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

const char* NameOf(Activation a) {
  for (const auto& [name, value] : ActivationNames()) {
    if (value == a) return name;
  }
  return "?";
}

class ActivationLayer : public Layer {
 public:
  explicit ActivationLayer(Activation a) : activation_(a) {}
  const char* type() const override { return NameOf(activation_); }
  std::optional<Activation> activation() const override { return activation_; }
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
    device_->Activate(activation_, a.x[0], a.y, step.rows * columns_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->ActivateBackward(activation_, a.y, a.dy, a.dx[0], step.rows * columns_, dtype_);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    return ExportActivation(activation_, a.name, a.x[0], graph);
  }

 private:
  const Activation activation_;
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

struct ActivationSpec : LayerSpec {
  explicit ActivationSpec(Activation a) : activation(a) {}
  Activation activation;
  const char* type() const override { return NameOf(activation); }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, MakeActivationLayer(activation), {x});
  }
};

}  // namespace

const std::vector<std::pair<const char*, Activation>>& ActivationNames() {
  static const std::vector<std::pair<const char*, Activation>> names = {
      {"none", Activation::kNone},
      {"sigmoid", Activation::kSigmoid},
      {"tanh", Activation::kTanh},
      {"relu", Activation::kRelu}};
  return names;
}

std::unique_ptr<Layer> MakeActivationLayer(Activation a) {
  return std::make_unique<ActivationLayer>(a);
}

std::unique_ptr<LayerSpec> MakeSigmoidSpec() {
  return std::make_unique<ActivationSpec>(Activation::kSigmoid);
}
std::unique_ptr<LayerSpec> MakeTanhSpec() {
  return std::make_unique<ActivationSpec>(Activation::kTanh);
}
std::unique_ptr<LayerSpec> MakeReluSpec() {
  return std::make_unique<ActivationSpec>(Activation::kRelu);
}

}  // namespace mariana
