// Local response normalisation across channels (Krizhevsky et al. 2012), scaled as in PyTorch:
// y = x * (k + alpha / size * sum of x^2 over `size` channels around)^-beta.
//
// A worker that has some of the channels gets its neighbours' next to them, the border, as a second
// input. It puts both together, some pixels at a time, normalises that and keeps its own; gradients
// of the border go back, to be added at home.
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
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }
  Division division() const override {
    Division can = Elementwise();
    can.halo = spec_.size / 2;
    return can;
  }
  void Keep(const LayerPart& part) override {
    own_ = {part.out.begin - part.in.begin, part.out.end - part.in.begin};
    channels_ = part.in.size();
  }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    pixels_ = PixelsOf(args.out->shape);
    dtype_ = args.in[0]->dtype;
    LayerDecl decl;
    decl.backward_reads_inputs = 1;
    if (own_.empty()) {
      channels_ = ChannelsOf(args.in[0]->shape);
    } else {
      decl.backward_reads_inputs = 2;
      decl.gradient_in_place = true;  // pixels are read before they are written
      const int64_t line = channels_ * SizeOf(dtype_);
      const int64_t most = device_->info().host_memory ? kScratchBytes : kDeviceScratchBytes;
      at_a_time_ = std::min(args.max_rows * pixels_, std::max<int64_t>(1, most / line));
      decl.saved_bytes = 3 * at_a_time_ * line;
    }
    decl.flops = static_cast<double>(pixels_ * channels_) * (2.0 * static_cast<double>(spec_.size));
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    if (own_.empty()) {
      return device_->Lrn(spec_, a.x[0], a.y, step.rows * pixels_, channels_, dtype_);
    }
    ForPixels(step, [&](int64_t first, int64_t n) {
      void* const x = Scratch(a, 0);
      void* const y = Scratch(a, 1);
      Join(a, x, first, n);
      device_->Lrn(spec_, x, y, n, channels_, dtype_);
      Copy(y, channels_, own_.begin, At(a.y, first, own_.size()), own_.size(), 0, n, own_.size());
    });
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    if (own_.empty()) {
      return device_->LrnBackward(spec_, a.x[0], a.dy, a.dx[0], step.rows * pixels_, channels_,
                                  dtype_);
    }
    ForPixels(step, [&](int64_t first, int64_t n) {
      void* const x = Scratch(a, 0);
      void* const dy = Scratch(a, 1);
      void* const dx = Scratch(a, 2);
      Join(a, x, first, n);
      device_->PlaceColumns(At(a.dy, first, own_.size()), dy, channels_, own_.begin, n, own_.size(),
                            dtype_);
      device_->LrnBackward(spec_, x, dy, dx, n, channels_, dtype_);
      Copy(dx, channels_, own_.begin, At(a.dx[0], first, own_.size()), own_.size(), 0, n,
           own_.size());
      void* const border = At(a.dx[1], first, border_size());
      Copy(dx, channels_, 0, border, border_size(), 0, n, own_.begin);
      Copy(dx, channels_, own_.end, border, border_size(), own_.begin, n, channels_ - own_.end);
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
  // Of each of three pieces: to stay in the caches, or to be worth a launch.
  static constexpr int64_t kScratchBytes = 128 << 10, kDeviceScratchBytes = 4 << 20;

  int64_t border_size() const { return channels_ - own_.size(); }
  void* Scratch(const LayerArgs& a, int64_t i) const {
    return At(a.saved, i * at_a_time_, channels_);
  }
  // Own channels between those of the border.
  void Join(const LayerArgs& a, void* x, int64_t first, int64_t n) const {
    const void* const border = At(a.x[1], first, border_size());
    Copy(border, border_size(), 0, x, channels_, 0, n, own_.begin);
    Copy(At(a.x[0], first, own_.size()), own_.size(), 0, x, channels_, own_.begin, n, own_.size());
    Copy(border, border_size(), own_.begin, x, channels_, own_.end, n, channels_ - own_.end);
  }
  // Columns; the first and the last worker have a border on one side alone.
  void Copy(const void* from, int64_t from_stride, int64_t from_col, void* to, int64_t to_stride,
            int64_t to_col, int64_t rows, int64_t cols) const {
    if (cols == 0) return;
    device_->CopyColumns(from, from_stride, from_col, to, to_stride, to_col, rows, cols, dtype_);
  }
  template <class F>
  void ForPixels(const StepContext& step, const F& run) const {
    const int64_t pixels = step.rows * pixels_;
    for (int64_t p = 0; p < pixels; p += at_a_time_) run(p, std::min(at_a_time_, pixels - p));
  }
  template <class T>
  T* At(T* p, int64_t pixel, int64_t channels) const {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<Byte*>(p) + pixel * channels * SizeOf(dtype_);
  }

  const LrnSpec spec_;
  ChannelRange own_;  // of the channels that it normalises; empty: all
  Device* device_ = nullptr;
  int64_t pixels_ = 0, channels_ = 0, at_a_time_ = 0;
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
