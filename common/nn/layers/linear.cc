// Fully connected layer: y = activation(x W^T + b), W is [units, inputs].
#include <cmath>

#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

// Glorot and Bengio 2010; He et al. 2015; "uniform" is +-1/sqrt(inputs), PyTorch's default.
Init InitOf(const LinearOptions& o, double in, double out) {
  const auto uniform = [](double bound) { return Init{Init::kUniform, static_cast<float>(bound)}; };
  const auto normal = [](double std) { return Init{Init::kNormal, static_cast<float>(std)}; };
  switch (o.init) {
    case WeightInit::kGlorotUniform: return uniform(std::sqrt(6 / (in + out)));
    case WeightInit::kGlorotNormal: return normal(std::sqrt(2 / (in + out)));
    case WeightInit::kHeUniform: return uniform(std::sqrt(6 / in));
    case WeightInit::kHeNormal: return normal(std::sqrt(2 / in));
    case WeightInit::kNormal: return normal(o.std);
    case WeightInit::kUniform: return uniform(1 / std::sqrt(in));
  }
  return {};
}

class Linear : public Layer {
 public:
  explicit Linear(const LinearOptions& options) : options_(options) {}
  const char* type() const override { return "linear"; }
  bool has_parameters() const override { return true; }
  bool writes_f32() const override { return true; }

  Shape Infer(const std::vector<Shape>&) override {
    if (options_.units <= 0) {
      throw Fail(ExitCode::kUsage, "units: 0 takes the number of outputs that the data needs, ",
                 "but this data needs none: give the number of units");
    }
    return Shape{options_.units};
  }

  bool FuseActivation(Activation a) override {
    if (options_.activation != Activation::kNone) return false;
    options_.activation = a;
    return true;
  }

  LayerDecl Setup(const SetupArgs& args) override {
    LinearSpec spec;
    spec.max_rows = args.max_rows;
    spec.in = args.in[0]->shape.elements();
    spec.out = options_.units;
    spec.input = args.in[0]->dtype;
    spec.output = args.out->dtype;
    spec.activation = options_.activation;
    spec.bias = options_.bias;
    spec.input_gradient = args.in[0]->gradient;
    op_ = args.device->MakeLinear(spec);

    LayerDecl decl;
    const AffineOp* op = op_.get();
    ParamDecl weight{"weight", Shape{spec.out, spec.in},
                     InitOf(options_, static_cast<double>(spec.in), static_cast<double>(spec.out))};
    weight.elements = op->weight_elements();
    weight.pack = [op](const float* plain, float* packed) { op->PackWeights(plain, packed); };
    weight.unpack = [op](const float* packed, float* plain) { op->UnpackWeights(packed, plain); };
    decl.params.push_back(std::move(weight));
    if (spec.bias) {
      ParamDecl bias{"bias", Shape{spec.out}};
      bias.decay = false;
      decl.params.push_back(std::move(bias));
    }
    decl.backward_reads_inputs = true;
    decl.backward_reads_output = spec.activation != Activation::kNone;
    decl.flops = 2.0 * static_cast<double>(spec.in) * static_cast<double>(spec.out);
    return decl;
  }

  void Forward(const StepContext& step, const LayerArgs& a) override {
    op_->Forward(a.x[0], a.w[0], a.w16[0], options_.bias ? a.w[1] : nullptr, a.y, step.rows);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    op_->Backward(a.x[0], a.y, a.dy, a.w[0], a.w16[0], a.dx[0], a.dw[0],
                  options_.bias ? a.dw[1] : nullptr, step.rows, step.accumulate);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    std::vector<std::string> inputs = {ExportFlat(a.in[0], a.name + ".flat", a.x[0], graph)};
    inputs.insert(inputs.end(), a.w.begin(), a.w.end());
    const bool last = options_.activation == Activation::kNone;
    const std::string y =
        graph->Node("Gemm", last ? a.name : a.name + ".sum", inputs, {{"transB", int64_t{1}}});
    return ExportActivation(options_.activation, a.name, y, graph);
  }

 private:
  LinearOptions options_;
  std::unique_ptr<AffineOp> op_;
};

struct LinearLayerSpec : LayerSpec {
  LinearOptions options;
  const char* type() const override { return "linear"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("units", &options.units, "Outputs; 0: as many as the data needs.", Rule().Min(0));
    f->Choice("activation", &options.activation, ActivationNames(), "Applied to the outputs.");
    f->Bool("bias", &options.bias, "Whether a bias is added (it starts at zero).");
    f->Choice("init", &options.init,
              {{"glorot_uniform", WeightInit::kGlorotUniform},
               {"glorot_normal", WeightInit::kGlorotNormal},
               {"he_uniform", WeightInit::kHeUniform},
               {"he_normal", WeightInit::kHeNormal},
               {"normal", WeightInit::kNormal},
               {"uniform", WeightInit::kUniform}},
              "How the weights are drawn; uniform: within 1/sqrt(inputs) of zero.");
    f->Real("std", &options.std, "Standard deviation of init: normal.", Rule().Above(0));
  }

  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    LinearOptions o = options;
    if (o.units == 0) o.units = net->options().outputs;
    return net->Add(name, MakeLinearLayer(o), {x});
  }
};

}  // namespace

std::unique_ptr<Layer> MakeLinearLayer(const LinearOptions& options) {
  return std::make_unique<Linear>(options);
}
std::unique_ptr<LayerSpec> MakeLinearSpec() { return std::make_unique<LinearLayerSpec>(); }

}  // namespace mariana
