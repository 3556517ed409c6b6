// Local response normalisation across channels (Krizhevsky et al. 2012), scaled as in PyTorch:
// y = x * (k + alpha / size * sum of x^2 over `size` channels around)^-beta.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class Lrn : public Layer {
 public:
  explicit Lrn(const LrnSpec& spec) : spec_(spec) {}
  const char* type() const override { return "lrn"; }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    pixels_ = PixelsOf(args.out->shape);
    channels_ = ChannelsOf(args.out->shape);
    dtype_ = args.in[0]->dtype;
    LayerDecl decl;
    decl.backward_reads_inputs = 1;
    decl.flops = static_cast<double>(pixels_ * channels_) * (2.0 * static_cast<double>(spec_.size));
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->Lrn(spec_, a.x[0], a.y, step.rows * pixels_, channels_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->LrnBackward(spec_, a.x[0], a.dy, a.dx[0], step.rows * pixels_, channels_, dtype_);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    if (spec_.size % 2 == 0 || !IsImage(a.out)) {
      throw LayerError(a.name, "ONNX's LRN takes images, and an odd size, not ", spec_.size);
    }
    return graph->Node(
        "LRN", a.name, {a.x[0]},
        {{"size", spec_.size}, {"alpha", spec_.alpha}, {"beta", spec_.beta}, {"bias", spec_.k}});
  }

 private:
  const LrnSpec spec_;
  Device* device_ = nullptr;
  int64_t pixels_ = 0, channels_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

struct LrnLayerSpec : LayerSpec {
  int64_t size = 5;
  double alpha = 1e-4, beta = 0.75, k = 1;
  const char* type() const override { return "lrn"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("size", &size, "Channels that are summed, the own one in their middle.", Rule().Min(1));
    f->Real("alpha", &alpha, "Weight of the mean of squares.", Rule().Min(0));
    f->Real("beta", &beta, "Exponent.", Rule().Above(0));
    f->Real("k", &k, "Added to the weighted mean.", Rule().Above(0));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    const LrnSpec spec{size, static_cast<float>(alpha), static_cast<float>(beta),
                       static_cast<float>(k)};
    return net->Add(name, std::make_unique<Lrn>(spec), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeLrnSpec() { return std::make_unique<LrnLayerSpec>(); }

}  // namespace mariana
