#include "common/device/cpu/convolution.h"

#include <glog/logging.h>

#include <algorithm>
#include <vector>

#include "common/base/error.h"
#include "common/device/cpu/conv_direct.h"
#include "common/device/cpu/conv_pass.h"
#include "common/device/cpu/conv_weights.h"

namespace mariana {
namespace {

constexpr int64_t kSumRows = 256;        // pixels whose sum is one fp32 sum of the bias' gradient
constexpr int64_t kAlign = 16;           // floats
constexpr int64_t kDirectChannels = 16;  // outputs of our own products, and what they come in

int64_t Align(int64_t floats) { return (floats + kAlign - 1) / kAlign * kAlign; }

// f(output, input of its group, row, column, plain index) for each weight.
template <class F>
void EachWeight(const ConvSpec& s, const F& f) {
  const int64_t in = s.in.channels / s.groups;
  int64_t plain = 0;
  for (int64_t o = 0; o < s.out.channels; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t h = 0; h < s.window.kernel_h; ++h) {
        for (int64_t w = 0; w < s.window.kernel_w; ++w) f(o, i, h, w, plain++);
      }
    }
  }
}

// With stride 1 the gradient of x is itself a convolution of dy, with the window turned by half a
// circle and inputs for outputs: oneDNN's forward pass is the fastest of the three.
bool GradientIsConvolution(const ConvSpec& s) {
  const Window& w = s.window;
  const int64_t down = w.dilation_h * (w.kernel_h - 1), across = w.dilation_w * (w.kernel_w - 1);
  return s.groups == 1 && w.stride_h == 1 && w.stride_w == 1 && std::max(w.top, w.bottom) <= down &&
         std::max(w.left, w.right) <= across;
}

ConvSpec TurnedSpec(const ConvSpec& s) {
  ConvSpec t = s;
  Window& w = t.window;
  const int64_t down = w.dilation_h * (w.kernel_h - 1), across = w.dilation_w * (w.kernel_w - 1);
  std::swap(t.in, t.out);
  w.top = down - s.window.top;
  w.bottom = down - s.window.bottom;
  w.left = across - s.window.left;
  w.right = across - s.window.right;
  t.output = t.input;
  t.activation = Activation::kNone;
  t.bias = false;
  return t;
}

class Convolution : public AffineOp {
 public:
  Convolution(const ConvSpec& spec, const CpuContext& context)
      : spec_(spec),
        context_(context),
        k_(*context.kernels),
        turned_(GradientIsConvolution(spec)),
        forward_(spec, ConvPassKind::kForward, Share(spec.max_rows)) {
    const WeightLayout& layout = forward_.layout();
    const int64_t panel = layout.Panel();
    if (ConvWeightGradient::Usable(spec, panel)) {
      own_weight_gradient_ = std::make_unique<ConvWeightGradient>(spec, panel, context);
    } else {
      weight_gradient_ =
          std::make_unique<ConvPass>(spec, ConvPassKind::kWeightGradient, Share(spec.max_rows));
      if (!(weight_gradient_->layout() == layout)) {
        EachWeight(spec, [&](int64_t o, int64_t i, int64_t h, int64_t w, int64_t) {
          from_gradient_.emplace_back(weight_gradient_->layout().At(o, i, h, w),
                                      layout.At(o, i, h, w));
        });
      }
    }
    if (spec.input_gradient) MakeInputGradient(layout);
    if (spec.input == Dtype::kF32 && spec.groups == 1 && panel == kDirectChannels &&
        spec.out.channels == kDirectChannels) {
      direct_forward_ = std::make_unique<DirectConvolution>(
          DirectConvolution::Forward(spec, panel, *context.kernels));
    }
    if (spec.output != spec.input) {
      dz16_ =
          static_cast<uint16_t*>(context.memory->Allocate(spec.max_rows * spec.out.elements() * 2));
    }
  }
  ~Convolution() override {
    context_.memory->Free(dz16_);
    context_.memory->Free(other_weights_);
  }

  int64_t weight_elements() const override { return forward_.layout().elements; }
  void PackWeights(const float* plain, float* packed) const override {
    std::fill_n(packed, weight_elements(), 0.0f);
    EachWeight(spec_, [&](int64_t o, int64_t i, int64_t h, int64_t w, int64_t at) {
      packed[forward_.layout().At(o, i, h, w)] = plain[at];
    });
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    EachWeight(spec_, [&](int64_t o, int64_t i, int64_t h, int64_t w, int64_t at) {
      plain[at] = packed[forward_.layout().At(o, i, h, w)];
    });
  }

  void Forward(const void* x, const float* w, const uint16_t* w16, const float* b, void* y,
               int64_t rows) override {
    if (direct_forward_ != nullptr) {
      RunDirect(*direct_forward_, spec_.in, x, w, spec_.bias ? b : nullptr, spec_.out, y, rows);
    } else {
      RunParts(&forward_, rows, 0, [&](int64_t, int64_t image) {
        return Arrays{X(x, image), Weights(w, w16), spec_.bias ? b : nullptr,
                      Y(y, image, spec_.output)};
      });
    }
    const bool done = direct_forward_ == nullptr && spec_.activation == Activation::kRelu;
    if (done || spec_.activation == Activation::kNone) return;
    const int64_t size = SizeOf(spec_.output);
    context_.pool->Split(rows * spec_.out.elements(), 4096, [&](int64_t begin, int64_t end) {
      char* part = static_cast<char*>(y) + begin * size;
      k_.activate(spec_.activation, part, part, end - begin, spec_.output);
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t* w16,
                void* dx, float* dw, float* db, int64_t rows, bool accumulate) override {
    SlopeAndSums(y, dy, db, rows, accumulate);
    const void* dz = dz16_ != nullptr ? dz16_ : dy;
    if (own_weight_gradient_ != nullptr) {
      own_weight_gradient_->Run(static_cast<const float*>(x), static_cast<const float*>(dz), dw,
                                rows, accumulate);
    } else {
      WeightGradient(x, dz, dw, rows, accumulate);
    }
    if (dx != nullptr) InputGradient(dz, Weights(w, w16), dx, rows);
  }

 private:
  struct Arrays {
    const void *x, *w;
    const float* b;
    const void* y;
  };
  struct Move {  // of one weight
    Move(int64_t f, int64_t t) : from(static_cast<uint32_t>(f)), to(static_cast<uint32_t>(t)) {}
    uint32_t from, to;
  };

  const void* Weights(const float* w, const uint16_t* w16) const {
    return spec_.input == Dtype::kBF16 ? static_cast<const void*>(w16) : w;
  }
  const char* X(const void* x, int64_t image) const {
    return static_cast<const char*>(x) + image * spec_.in.elements() * SizeOf(spec_.input);
  }
  const char* Y(const void* y, int64_t image, Dtype t) const {
    return static_cast<const char*>(y) + image * spec_.out.elements() * SizeOf(t);
  }

  // ---- images are split between threads
  int64_t Parts(int64_t rows) const { return std::min<int64_t>(rows, context_.pool->threads()); }
  int64_t Share(int64_t rows) const { return rows / Parts(rows); }

  // Runs a pass over the images, part by part, on the arrays that bind(part, first image) gives.
  // Its scratch memory lies in the workspace behind `reserved` floats.
  template <class F>
  void RunParts(ConvPass* pass, int64_t rows, int64_t reserved, const F& bind) {
    CHECK_LE(rows, spec_.max_rows);
    const int64_t parts = Parts(rows);
    const auto begin = [&](int64_t i) { return rows * i / parts; };
    std::vector<const ConvPass::Compiled*> compiled;  // here, on one thread
    int64_t scratch = 0;
    for (int64_t i = 0; i < parts; ++i) {
      compiled.push_back(pass->Prepare(begin(i + 1) - begin(i)));
      scratch = std::max(scratch, Align((ConvPass::ScratchBytes(compiled.back()) + 3) / 4));
    }
    context_.workspace->Reserve(reserved + parts * scratch);
    context_.pool->Run(parts, [&](int64_t i) {
      const Arrays a = bind(i, begin(i));
      ConvPass::Run(compiled[i], a.x, a.w, a.b, a.y,
                    context_.workspace->data() + reserved + i * scratch);
    });
  }

  void RunDirect(const DirectConvolution& direct, const ImageSize& from_size, const void* from,
                 const float* w, const float* bias, const ImageSize& to_size, void* to,
                 int64_t rows) {
    const int64_t parts = Parts(rows), scratch = Align(direct.scratch_floats());
    context_.workspace->Reserve(parts * scratch);
    context_.pool->Run(parts, [&](int64_t i) {
      for (int64_t n = rows * i / parts; n < rows * (i + 1) / parts; ++n) {
        direct.Run(static_cast<const float*>(from) + n * from_size.elements(), w, bias,
                   static_cast<float*>(to) + n * to_size.elements(),
                   context_.workspace->data() + i * scratch);
      }
    });
  }

  // ---- backward
  // dy becomes the gradient before the activation (and dz16_ its rounding, if there is one); db
  // its sums over pixels: fp32 over kSumRows of them, float64 over those.
  void SlopeAndSums(const void* y, void* dy, float* db, int64_t rows, bool accumulate) {
    if (spec_.activation == Activation::kNone && db == nullptr && dz16_ == nullptr) return;
    const int64_t cols = spec_.out.channels, pixels = rows * spec_.out.height * spec_.out.width;
    const int64_t blocks = (pixels + kSumRows - 1) / kSumRows, size = SizeOf(spec_.output);
    if (db != nullptr) context_.workspace->Reserve(blocks * cols);
    float* sums = context_.workspace->data();
    context_.pool->Split(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * kSumRows * cols, height = std::min(kSumRows, pixels - i * kSumRows);
        k_.slope_and_sums(spec_.activation, static_cast<const char*>(y) + at * size,
                          static_cast<char*>(dy) + at * size, cols, height, cols,
                          db == nullptr ? nullptr : sums + i * cols, false,
                          dz16_ == nullptr ? nullptr : dz16_ + at, spec_.output);
      }
    });
    for (int64_t c = 0; db != nullptr && c < cols; ++c) {
      double sum = accumulate ? db[c] : 0.0;
      for (int64_t i = 0; i < blocks; ++i) sum += sums[i * cols + c];
      db[c] = static_cast<float>(sum);
    }
  }

  // Each part's into memory of its own, their sum then into dw.
  void WeightGradient(const void* x, const void* dz, float* dw, int64_t rows, bool accumulate) {
    const int64_t parts = Parts(rows), elements = weight_gradient_->layout().elements;
    const int64_t each = Align(elements);
    const auto at = [&](int64_t i) { return context_.workspace->data() + i * each; };
    RunParts(weight_gradient_.get(), rows, parts * each, [&](int64_t part, int64_t image) {
      return Arrays{X(x, image), at(part), nullptr, Y(dz, image, spec_.input)};
    });
    for (int64_t i = 1; i < parts; ++i) AddTo(at(0), at(i), elements);
    if (!accumulate) std::fill_n(dw, weight_elements(), 0.0f);
    if (from_gradient_.empty()) return AddTo(dw, at(0), elements);
    const float* sums = at(0);
    context_.pool->Split(static_cast<int64_t>(from_gradient_.size()), 4096,
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i) {
                             dw[from_gradient_[i].to] += sums[from_gradient_[i].from];
                           }
                         });
  }
  void AddTo(float* y, const float* x, int64_t n) {
    context_.pool->Split(n, 4096, [&](int64_t begin, int64_t end) {
      k_.add(x + begin, y + begin, y + begin, end - begin, Dtype::kF32);
    });
  }

  // The fastest that there is: our own, or oneDNN's forward pass on turned weights, or its
  // backward pass.
  void MakeInputGradient(const WeightLayout& layout) {
    const int64_t images = Share(spec_.max_rows), in = spec_.in.channels;
    const Window& w = spec_.window;
    from_panel_ = layout.Panel();
    const bool strided = w.stride_h > 1 || w.stride_w > 1;
    const bool direct =
        strided ? w.dilation_h == 1 && w.dilation_w == 1 && in % (2 * kDirectChannels) == 0
                : turned_ && in == kDirectChannels;
    if (direct && spec_.input == Dtype::kF32 && spec_.groups == 1 && from_panel_ > 0) {
      to_panel_ = in % 64 == 0 ? 64 : in % 32 == 0 ? 32 : kDirectChannels;
      direct_input_gradient_ = std::make_unique<DirectConvolution>(
          strided ? DirectConvolution::InputGradient(spec_, to_panel_, k_)
                  : DirectConvolution::Forward(TurnedSpec(spec_), to_panel_, k_));
      reverse_ = !strided;
      const int64_t elements = w.kernel_h * w.kernel_w * spec_.out.channels * in;
      other_weights_ = context_.memory->Allocate(elements * sizeof(float));
      return;
    }
    reverse_ = turned_;
    input_gradient_ =
        turned_ ? std::make_unique<ConvPass>(TurnedSpec(spec_), ConvPassKind::kForward, images)
                : std::make_unique<ConvPass>(spec_, ConvPassKind::kInputGradient, images);
    const WeightLayout& other = input_gradient_->layout();
    if (!turned_ && other == layout) return;
    other_weights_ = context_.memory->Allocate(other.elements * SizeOf(spec_.input));
    to_panel_ = turned_ && from_panel_ > 0 && spec_.input == Dtype::kF32 ? other.Panel() : 0;
    if (to_panel_ > 0) return;
    EachWeight(spec_, [&](int64_t o, int64_t i, int64_t h, int64_t v, int64_t) {
      to_input_gradient_.emplace_back(
          layout.At(o, i, h, v),
          turned_ ? other.At(i, o, w.kernel_h - 1 - h, w.kernel_w - 1 - v) : other.At(o, i, h, v));
    });
  }

  void InputGradient(const void* dz, const void* w, void* dx, int64_t rows) {
    CHECK(input_gradient_ != nullptr || direct_input_gradient_ != nullptr);
    if (to_panel_ > 0) {
      TransposePanels(static_cast<const float*>(w), static_cast<float*>(other_weights_));
    } else if (spec_.input == Dtype::kBF16) {
      Rearrange(static_cast<const uint16_t*>(w), static_cast<uint16_t*>(other_weights_));
    } else {
      Rearrange(static_cast<const float*>(w), static_cast<float*>(other_weights_));
    }
    if (other_weights_ != nullptr) w = other_weights_;
    if (direct_input_gradient_ != nullptr) {
      return RunDirect(*direct_input_gradient_, spec_.out, dz, static_cast<const float*>(w),
                       nullptr, spec_.in, dx, rows);
    }
    RunParts(input_gradient_.get(), rows, 0, [&](int64_t, int64_t image) {
      const void *of_x = X(dx, image), *of_y = Y(dz, image, spec_.input);
      return turned_ ? Arrays{of_y, w, nullptr, of_x} : Arrays{of_x, w, nullptr, of_y};
    });
  }
  // [o / from_panel_, place, i, from_panel_] to [i / to_panel_, place, o, to_panel_], the places
  // of the window in reverse where it is turned.
  void TransposePanels(const float* w, float* other) {
    const int64_t in = spec_.in.channels, out = spec_.out.channels;
    const int64_t places = spec_.window.kernel_h * spec_.window.kernel_w;
    const int64_t panels = (in + to_panel_ - 1) / to_panel_;
    context_.pool->Run(panels * places, [&](int64_t task) {
      const int64_t p = task / places * to_panel_, place = task % places;
      const int64_t target = reverse_ ? places - 1 - place : place;
      for (int64_t o = 0; o < out; o += from_panel_) {
        k_.transpose(w + ((o / from_panel_ * places + place) * in + p) * from_panel_, from_panel_,
                     std::min(to_panel_, in - p), std::min(from_panel_, out - o),
                     other + (p / to_panel_ * places + target) * out * to_panel_ + o * to_panel_,
                     to_panel_);
      }
    });
  }
  template <class T>
  void Rearrange(const T* w, T* other) {
    context_.pool->Split(static_cast<int64_t>(to_input_gradient_.size()), 4096,
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i) {
                             other[to_input_gradient_[i].to] = w[to_input_gradient_[i].from];
                           }
                         });
  }

  const ConvSpec spec_;
  const CpuContext context_;
  const Kernels& k_;
  const bool turned_;  // the input's gradient is a forward pass
  ConvPass forward_;
  std::unique_ptr<ConvPass> input_gradient_, weight_gradient_;
  std::unique_ptr<ConvWeightGradient> own_weight_gradient_;
  std::unique_ptr<DirectConvolution> direct_forward_, direct_input_gradient_;
  bool reverse_ = false;
  int64_t from_panel_ = 0, to_panel_ = 0;  // of the weights, and as other_weights_ has them
  std::vector<Move> to_input_gradient_, from_gradient_;  // of weights, where layouts differ
  void* other_weights_ = nullptr;                        // as input_gradient_ wants them
  uint16_t* dz16_ = nullptr;                             // dy rounded, when y is fp32 and x is not
};

}  // namespace

std::unique_ptr<AffineOp> MakeConvolutionOp(const ConvSpec& spec, const CpuContext& context) {
  return std::make_unique<Convolution>(spec, context);
}

}  // namespace mariana
