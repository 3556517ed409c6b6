// Fully connected layer: y = activation(x W^T + b), W is [units, inputs].
#include <vector>

#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

// Plain weights of an image [height, width, channels] go by PyTorch's flattening, (channel, height,
// width); the device's by the image's own.
class ColumnOrder {
 public:
  explicit ColumnOrder(const Shape& in) : pixels_(PixelsOf(in)), channels_(ChannelsOf(in)) {}
  bool same() const { return pixels_ == 1 || channels_ == 1; }

  // plain -> image order, and back.
  std::vector<float> FromPlain(const float* plain, int64_t rows) const {
    std::vector<float> w(static_cast<size_t>(rows * pixels_ * channels_));
    Transpose(plain, rows, channels_, pixels_, w.data());
    return w;
  }
  void ToPlain(const float* w, int64_t rows, float* plain) const {
    Transpose(w, rows, pixels_, channels_, plain);
  }

 private:
  // Each row holds a matrix [a, b], to become [b, a].
  static void Transpose(const float* from, int64_t rows, int64_t a, int64_t b, float* to) {
    for (int64_t r = 0; r < rows; ++r, from += a * b, to += a * b) {
      for (int64_t i = 0; i < a; ++i) {
        for (int64_t j = 0; j < b; ++j) to[j * a + i] = from[i * b + j];
      }
    }
  }
  int64_t pixels_, channels_;
};

ParamDecl WeightDecl(const LinearSpec& spec, const Shape& in, const InitOptions& init,
                     const AffineOp* op) {
  ParamDecl weight{"weight", Shape{spec.out, spec.in}, init.ForFans(spec.in, spec.out)};
  weight.elements = op->weight_elements();
  const ColumnOrder order(in);
  const int64_t rows = spec.out;
  if (order.same()) {
    weight.pack = [op](const float* plain, float* packed) { op->PackWeights(plain, packed); };
    weight.unpack = [op](const float* packed, float* plain) { op->UnpackWeights(packed, plain); };
  } else {
    weight.pack = [op, order, rows](const float* plain, float* packed) {
      op->PackWeights(order.FromPlain(plain, rows).data(), packed);
    };
    weight.unpack = [op, order, rows, n = spec.in](const float* packed, float* plain) {
      std::vector<float> w(static_cast<size_t>(rows * n));
      op->UnpackWeights(packed, w.data());
      order.ToPlain(w.data(), rows, plain);
    };
  }
  return weight;
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
    decl.params.push_back(WeightDecl(spec, args.in[0]->shape, options_.init, op_.get()));
    if (spec.bias) {
      ParamDecl bias{"bias", Shape{spec.out}};
      bias.decay = false;
      decl.params.push_back(std::move(bias));
    }
    decl.backward_reads_inputs = 1;
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
    options.init.Describe(f);
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
