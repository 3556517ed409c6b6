// Batch normalisation (Ioffe and Szegedy 2015) on fixed groups of samples (NetSpec::group), so
// that the result does not depend on how a batch is dealt out to workers. Of an image each channel
// is normalised over all its pixels. Names and running averages are PyTorch's. A relu behind it,
// and the addition of a residual before that, are done in the same pass.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct BatchNormOptions {
  double momentum = 0.1, epsilon = 1e-5;
};

class BatchNorm : public Layer {
 public:
  explicit BatchNorm(const BatchNormOptions& options) : options_(options) {}
  const char* type() const override { return "batch_norm"; }
  bool has_parameters() const override { return true; }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }
  Division division() const override { return Elementwise(); }
  void Keep(const LayerPart& part) override { part_ = {Shape{part.whole_out}, 0, part.out.begin}; }

  bool FuseActivation(Activation a) override {
    if (a != Activation::kRelu || activation_ != Activation::kNone) return false;
    activation_ = a;
    return true;
  }
  bool FuseResidual() override {
    if (residual_ || activation_ != Activation::kNone) return false;
    residual_ = true;
    return true;
  }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = ChannelsOf(args.out->shape);
    pixels_ = PixelsOf(args.out->shape);
    dtype_ = args.in[0]->dtype;
    const Shape row{columns_};
    LayerDecl decl;
    decl.params.push_back({"weight", row, {Init::kConstant, 1}, /*decay=*/false, part_});
    decl.params.push_back({"bias", row, {Init::kConstant, 0}, /*decay=*/false, part_});
    decl.states.push_back({"running_mean", row, 0, part_});
    decl.states.push_back({"running_var", row, 1, part_});
    decl.backward_reads_inputs = 1;
    decl.backward_reads_output = activation_ == Activation::kRelu;
    // One of the two gradients may take the place of dy; if nobody wants that of x, it goes there.
    decl.gradient_in_place = !residual_ || args.in[0]->gradient;
    decl.stats_columns = 2 * columns_;
    decl.update_states = [this](const float* stats, int32_t rows,
                                const std::vector<float*>& states) {
      UpdateRunning(stats, rows, states[0], states[1]);
    };
    decl.saved_bytes = args.max_groups * decl.stats_columns * SizeOf(Dtype::kF32);
    decl.flops = 8.0 * static_cast<double>(columns_ * pixels_);
    return decl;
  }

  void Forward(const StepContext& step, const LayerArgs& a) override {
    if (step.train) {
      device_->BatchNormTrain(Groups(a), a.x[0], a.w[0], a.w[1], Residual(a), a.y,
                              static_cast<float*>(a.saved), dtype_);
    } else {
      device_->BatchNormInfer(Groups(a), a.x[0], a.w[0], a.w[1], a.states[0], a.states[1],
                              Residual(a), a.y, step.rows, dtype_);
    }
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    void* dx = a.dx[0] ? a.dx[0] : a.dy;
    device_->BatchNormBackward(
        Groups(a), a.x[0], a.y, a.dy, a.w[0], static_cast<const float*>(a.saved), dx,
        residual_ ? a.dx[1] : nullptr, a.dw[0], a.dw[1], step.accumulate, dtype_);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    const bool relu = activation_ != Activation::kNone;
    std::string y = graph->Node("BatchNormalization", residual_ || relu ? a.name + ".norm" : a.name,
                                {a.x[0], a.w[0], a.w[1], a.states[0], a.states[1]},
                                {{"epsilon", static_cast<float>(options_.epsilon)}});
    if (residual_) y = graph->Node("Add", relu ? a.name + ".sum" : a.name, {y, a.x[1]});
    return ExportActivation(activation_, a.name, y, graph);
  }

 private:
  Device::BatchNormArgs Groups(const LayerArgs& a) const {
    return {a.group_rows, a.groups, pixels_, columns_, static_cast<float>(options_.epsilon),
            activation_};
  }
  const void* Residual(const LayerArgs& a) const { return residual_ ? a.x[1] : nullptr; }

  // running = (1 - m) * running + m * new, where the new variance is the unbiased one. A single
  // value has no variance and is passed over.
  void UpdateRunning(const float* stats, int32_t rows, float* mean, float* variance) const {
    const int64_t n = rows * pixels_;
    if (n < 2) return;
    const double m = options_.momentum;
    const double unbias = static_cast<double>(n) / static_cast<double>(n - 1);
    for (int64_t c = 0; c < columns_; ++c) {
      mean[c] = static_cast<float>((1 - m) * mean[c] + m * stats[c]);
      variance[c] = static_cast<float>((1 - m) * variance[c] + m * unbias * stats[columns_ + c]);
    }
  }

  const BatchNormOptions options_;
  Device* device_ = nullptr;
  ParamPart part_;         // of the whole layer's parameters
  bool residual_ = false;  // the second input is added
  Activation activation_ = Activation::kNone;
  int64_t columns_ = 0, pixels_ = 1;
  Dtype dtype_ = Dtype::kF32;
};

struct BatchNormSpec : LayerSpec {
  BatchNormOptions options;
  const char* type() const override { return "batch_norm"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Real("momentum", &options.momentum, "Weight of a new group in the running averages.",
            Rule().Min(0).Max(1));
    f->Real("epsilon", &options.epsilon, "Added to the variance.", Rule().Above(0));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<BatchNorm>(options), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeBatchNormSpec() { return std::make_unique<BatchNormSpec>(); }

}  // namespace mariana
