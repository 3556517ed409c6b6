// Convolution: y = activation(W * x + b) over images [height, width, channels]. Names and the plain
// layout of the weights, [channels, in / groups, height, width], are PyTorch's.
#include "common/nn/compile.h"
#include "common/nn/layers/affine.h"
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

class Conv : public AffineLayer {
 public:
  explicit Conv(const ConvOptions& options)
      : AffineLayer(options.activation, options.bias), options_(options) {}
  const char* type() const override { return "conv"; }

  Shape Infer(const std::vector<Shape>& in) override {
    in_ = ImageOf(in[0]);
    if (in_.channels % options_.groups != 0 || options_.channels % options_.groups != 0) {
      throw Fail(ExitCode::kUsage, "groups: ", options_.groups, " must divide the ", in_.channels,
                 " channels of the input and the ", options_.channels, " of the output");
    }
    window_ = options_.window.Over(in_);
    out_.channels = options_.channels;
    SetExtent(window_, in_, /*ceil_mode=*/false, &out_);
    if (part_.whole_out == 0) {
      part_ = {{0, in_.channels}, {0, out_.channels}, in_.channels, out_.channels};
    }
    return ShapeOf(out_);
  }

  Division division() const override {
    Division can;
    can.outputs = true;
    can.groups = options_.groups;
    return can;
  }
  void Keep(const LayerPart& part) override {
    const int64_t group = part_.whole_in / options_.groups;
    part_ = part;
    options_.channels = part.out.size();
    options_.groups = part.in.size() / group;
  }

  LayerDecl Setup(const SetupArgs& args) override {
    ConvSpec spec;
    FillSpec(args, &spec);
    spec.in = in_;
    spec.out = out_;
    spec.window = window_;
    spec.groups = options_.groups;
    op_ = args.device->MakeConvolution(spec);
    const int64_t taps = window_.kernel_h * window_.kernel_w, in = in_.channels / spec.groups;
    ParamDecl weight =
        WeightOf(op_.get(), Shape{out_.channels, in, window_.kernel_h, window_.kernel_w},
                 options_.init.ForFans(in * taps, part_.whole_out * taps));
    weight.part = {Shape{part_.whole_out, in, window_.kernel_h, window_.kernel_w}, 0,
                   part_.out.begin};
    return Declare(std::move(weight), part_,
                   2.0 * static_cast<double>(out_.elements()) * static_cast<double>(in * taps));
  }

  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    std::vector<std::string> inputs = {a.x[0]};
    inputs.insert(inputs.end(), a.w.begin(), a.w.end());
    std::vector<OpAttribute> attributes = WindowAttributes(window_);
    attributes.push_back({"dilations", OpAttribute::Ints{window_.dilation_h, window_.dilation_w}});
    attributes.push_back({"group", options_.groups});
    const bool last = activation_ == Activation::kNone;
    const std::string y = graph->Node("Conv", last ? a.name : a.name + ".sum", inputs, attributes);
    return ExportActivation(activation_, a.name, y, graph);
  }

 private:
  ConvOptions options_;
  LayerPart part_;
  ImageSize in_, out_;
  Window window_;
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
