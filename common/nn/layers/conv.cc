// Convolution: y = activation(W * x + b) over images [height, width, channels]. Names and the plain
// layout of the weights, [channels, in / groups, height, width], are PyTorch's.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"
#include "common/nn/layers/window.h"

namespace mariana {
namespace {

struct ConvOptions {
  int64_t channels = 0;
  WindowOptions window;
  int64_t groups = 1;
  bool bias = true;
  Activation activation = Activation::kNone;
  InitOptions init{WeightInit::kHeNormal};
};

class Conv : public Layer {
 public:
  explicit Conv(const ConvOptions& options) : options_(options) {}
  const char* type() const override { return "conv"; }
  bool has_parameters() const override { return true; }
  bool writes_f32() const override { return true; }

  Shape Infer(const std::vector<Shape>& in) override {
    in_ = ImageOf(in[0]);
    if (in_.channels % options_.groups != 0 || options_.channels % options_.groups != 0) {
      throw Fail(ExitCode::kUsage, "groups: ", options_.groups, " must divide the ", in_.channels,
                 " channels of the input and the ", options_.channels, " of the output");
    }
    window_ = options_.window.Over(in_);
    out_.channels = options_.channels;
    SetExtent(window_, in_, /*ceil_mode=*/false, &out_);
    return ShapeOf(out_);
  }

  bool FuseActivation(Activation a) override {
    if (options_.activation != Activation::kNone) return false;
    options_.activation = a;
    return true;
  }

  LayerDecl Setup(const SetupArgs& args) override {
    ConvSpec spec;
    spec.max_rows = args.max_rows;
    spec.in = in_;
    spec.out = out_;
    spec.window = window_;
    spec.groups = options_.groups;
    spec.input = args.in[0]->dtype;
    spec.output = args.out->dtype;
    spec.activation = options_.activation;
    spec.bias = options_.bias;
    spec.input_gradient = args.in[0]->gradient;
    op_ = args.device->MakeConvolution(spec);

    LayerDecl decl;
    const int64_t taps = window_.kernel_h * window_.kernel_w, in = in_.channels / spec.groups;
    const AffineOp* op = op_.get();
    ParamDecl weight{"weight", Shape{out_.channels, in, window_.kernel_h, window_.kernel_w},
                     options_.init.ForFans(in * taps, out_.channels * taps)};
    weight.elements = op->weight_elements();
    weight.pack = [op](const float* plain, float* packed) { op->PackWeights(plain, packed); };
    weight.unpack = [op](const float* packed, float* plain) { op->UnpackWeights(packed, plain); };
    decl.params.push_back(std::move(weight));
    if (spec.bias) {
      ParamDecl bias{"bias", Shape{out_.channels}};
      bias.decay = false;
      decl.params.push_back(std::move(bias));
    }
    decl.backward_reads_inputs = 1;
    decl.backward_reads_output = spec.activation != Activation::kNone;
    decl.flops = 2.0 * static_cast<double>(out_.elements()) * static_cast<double>(in * taps);
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
    std::vector<std::string> inputs = {a.x[0]};
    inputs.insert(inputs.end(), a.w.begin(), a.w.end());
    std::vector<OpAttribute> attributes = WindowAttributes(window_);
    attributes.push_back({"dilations", OpAttribute::Ints{window_.dilation_h, window_.dilation_w}});
    attributes.push_back({"group", options_.groups});
    const bool last = options_.activation == Activation::kNone;
    const std::string y = graph->Node("Conv", last ? a.name : a.name + ".sum", inputs, attributes);
    return ExportActivation(options_.activation, a.name, y, graph);
  }

 private:
  ConvOptions options_;
  ImageSize in_, out_;
  Window window_;
  std::unique_ptr<AffineOp> op_;
};

struct ConvLayerSpec : LayerSpec {
  ConvOptions options;
  const char* type() const override { return "conv"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("channels", &options.channels, "Channels of the output.", Rule().Required().Min(1));
    options.window.Describe(f, "Pixels from one window to the next.");
    options.window.DescribeDilation(f);
    f->Require(!options.window.stride.empty(), "stride", "must be one number or [height, width]");
    f->Int("groups", &options.groups, "Groups of channels that do not see each other.",
           Rule().Min(1));
    f->Bool("bias", &options.bias,
            "Whether a bias is added (it starts at zero); batch norm behind it needs none.");
    f->Choice("activation", &options.activation, ActivationNames(), "Applied to the outputs.");
    options.init.Describe(f);
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<Conv>(options), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeConvSpec() { return std::make_unique<ConvLayerSpec>(); }

}  // namespace mariana
