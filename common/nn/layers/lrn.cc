// Local response normalisation across channels (Krizhevsky et al. 2012), scaled as in PyTorch:
// y = x * (k + alpha / size * sum of x^2 over `size` channels around)^-beta.
//
// A worker that has some of the channels gets its neighbours' next to them as well. It normalises
// all that it gets, some pixels at a time, and keeps its own; of their gradients the transfer
// behind it makes sums.
#include <algorithm>
#include <type_traits>

#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class Lrn : public Layer {
 public:
  explicit Lrn(const LrnSpec& spec) : spec_(spec) {}
  const char* type() const override { return "lrn"; }
  Shape Infer(const std::vector<Shape>& in) override {
    return own_.empty() ? in[0] : WithChannels(in[0], own_.size());
  }
  Division division() const override {
    Division can = Elementwise();
    can.halo = spec_.size / 2;
    return can;
  }
  void Keep(const LayerPart& part) override {
    own_ = {part.out.begin - part.in.begin, part.out.end - part.in.begin};
  }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    pixels_ = PixelsOf(args.out->shape);
    channels_ = ChannelsOf(args.in[0]->shape);
    dtype_ = args.in[0]->dtype;
    LayerDecl decl;
    decl.backward_reads_inputs = 1;
    if (!own_.empty()) decl.saved_bytes = kPixelsAtATime * channels_ * SizeOf(dtype_);
    decl.flops = static_cast<double>(pixels_ * channels_) * (2.0 * static_cast<double>(spec_.size));
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    if (own_.empty()) {
      return device_->Lrn(spec_, a.x[0], a.y, step.rows * pixels_, channels_, dtype_);
    }
    ForPixels(step, [&](int64_t first, int64_t n) {
      device_->Lrn(spec_, At(a.x[0], first, channels_), a.saved, n, channels_, dtype_);
      device_->CopyColumns(a.saved, channels_, own_.begin, At(a.y, first, own_.size()), own_.size(),
                           0, n, own_.size(), dtype_);
    });
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    if (own_.empty()) {
      return device_->LrnBackward(spec_, a.x[0], a.dy, a.dx[0], step.rows * pixels_, channels_,
                                  dtype_);
    }
    ForPixels(step, [&](int64_t first, int64_t n) {
      device_->PlaceColumns(At(a.dy, first, own_.size()), a.saved, channels_, own_.begin, n,
                            own_.size(), dtype_);
      device_->LrnBackward(spec_, At(a.x[0], first, channels_), a.saved,
                           At(a.dx[0], first, channels_), n, channels_, dtype_);
    });
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
  static constexpr int64_t kPixelsAtATime = 1024;

  template <class F>
  void ForPixels(const StepContext& step, const F& run) const {
    const int64_t pixels = step.rows * pixels_;
    for (int64_t p = 0; p < pixels; p += kPixelsAtATime)
      run(p, std::min(kPixelsAtATime, pixels - p));
  }
  template <class T>
  T* At(T* p, int64_t pixel, int64_t channels) const {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<Byte*>(p) + pixel * channels * SizeOf(dtype_);
  }

  const LrnSpec spec_;
  ChannelRange own_;  // of the input's channels; empty: all
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
