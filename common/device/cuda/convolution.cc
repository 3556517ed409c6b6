// Convolutions over cuDNN, NHWC. Weights are [out, height, width, in / groups]. Algorithms are
// those that the library's heuristics put first among the deterministic ones, chosen once per
// number of images. Bias and activation are one pass of our own, as are slope and bias gradient.
//
// cuDNN's padding is the same on both sides: where a window's is not, images are copied into larger
// ones first. Under bf16 cuDNN gives the gradient of weights in bf16.
#include <algorithm>
#include <map>
#include <vector>

#include "common/device/cuda/kernels.h"
#include "common/device/cuda/operations.h"

namespace mariana::cuda {
namespace {

constexpr size_t kMostWorkspace = size_t{1} << 30;  // of one algorithm

cudnnDataType_t TypeOf(Dtype t) {
  return t == Dtype::kBF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

// What heuristics say, in one form for all three passes.
template <class Algorithm>
struct Choice {
  Algorithm algorithm{};
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
  size_t workspace = 0;
};

// The descriptors and algorithms of one number of images.
struct ConvolutionPlan {
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  Choice<cudnnConvolutionFwdAlgo_t> forward;
  Choice<cudnnConvolutionBwdDataAlgo_t> data;
  Choice<cudnnConvolutionBwdFilterAlgo_t> filter;

  ConvolutionPlan() {
    Check(cudnnCreateTensorDescriptor(&x), "cudnnCreateTensorDescriptor");
    Check(cudnnCreateTensorDescriptor(&y), "cudnnCreateTensorDescriptor");
  }
  ~ConvolutionPlan() {
    cudnnDestroyTensorDescriptor(x);
    cudnnDestroyTensorDescriptor(y);
  }
  ConvolutionPlan(const ConvolutionPlan&) = delete;
  ConvolutionPlan& operator=(const ConvolutionPlan&) = delete;
};

class Convolution : public AffineOp {
 public:
  Convolution(const ConvSpec& spec, Context* context)
      : spec_(spec), context_(context), padded_(spec.in) {
    const Window& w = spec.window;
    copies_ = w.top != w.bottom || w.left != w.right;
    if (copies_) {
      padded_.height += w.top + w.bottom;
      padded_.width += w.left + w.right;
    }
    Check(cudnnCreateFilterDescriptor(&filter_), "cudnnCreateFilterDescriptor");
    Check(cudnnSetFilter4dDescriptor(filter_, TypeOf(spec.input), CUDNN_TENSOR_NHWC,
                                     Int(spec.out.channels), Int(in_channels()), Int(w.kernel_h),
                                     Int(w.kernel_w)),
          "cudnnSetFilter4dDescriptor");
    Check(cudnnCreateConvolutionDescriptor(&convolution_), "cudnnCreateConvolutionDescriptor");
    Check(cudnnSetConvolution2dDescriptor(convolution_, copies_ ? 0 : Int(w.top),
                                          copies_ ? 0 : Int(w.left), Int(w.stride_h),
                                          Int(w.stride_w), Int(w.dilation_h), Int(w.dilation_w),
                                          CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
          "cudnnSetConvolution2dDescriptor");
    Check(cudnnSetConvolutionGroupCount(convolution_, Int(spec.groups)),
          "cudnnSetConvolutionGroupCount");
    PlanFor(spec.max_rows);  // throws where cuDNN has no algorithm
  }
  ~Convolution() override {
    cudnnDestroyConvolutionDescriptor(convolution_);
    cudnnDestroyFilterDescriptor(filter_);
  }

  int64_t weight_elements() const override {
    return spec_.out.channels * spec_.window.kernel_h * spec_.window.kernel_w * in_channels();
  }
  void PackWeights(const float* plain, float* packed) const override {
    EachWeight([&](int64_t in_plain, int64_t in_packed) { packed[in_packed] = plain[in_plain]; });
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    EachWeight([&](int64_t in_plain, int64_t in_packed) { plain[in_plain] = packed[in_packed]; });
  }

  void Forward(const void* x, const float* w, const uint16_t* w16, const float* b, void* y,
               int64_t rows) override {
    if (rows == 0) return;
    context_->Use();
    const ConvolutionPlan& plan = PlanFor(rows);
    void* to = mixed() ? Room(&outputs16_, spec_.out) : y;
    const float one = 1, zero = 0;
    SetMath(plan.forward.math);
    Check(cudnnConvolutionForward(context_->dnn(), &one, plan.x, Padded(x, rows), filter_,
                                  Weights(w, w16), convolution_, plan.forward.algorithm,
                                  context_->workspace.data(), plan.forward.workspace, &zero, plan.y,
                                  to),
          "cudnnConvolutionForward");
    context_->Launched("convolution");
    if (mixed()) Convert(context_, to, spec_.input, y, spec_.output, rows * spec_.out.elements());
    BiasActivate(context_, spec_.activation, spec_.bias ? b : nullptr, y, Pixels(rows),
                 spec_.out.channels, spec_.output);
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t* w16,
                void* dx, float* dw, float* db, int64_t rows, bool accumulate) override {
    if (rows == 0) return;
    context_->Use();
    const ConvolutionPlan& plan = PlanFor(rows);
    SlopeAndSums(context_, spec_.activation, y, dy, Pixels(rows), spec_.out.channels, db,
                 accumulate, spec_.output);
    const void* dz = dy;
    if (mixed()) {
      void* narrow = Room(&outputs16_, spec_.out);
      Convert(context_, dy, spec_.output, narrow, spec_.input, rows * spec_.out.elements());
      dz = narrow;
    }
    WeightGradient(plan, Padded(x, rows), dz, dw, accumulate);
    if (dx != nullptr) InputGradient(plan, dz, w, w16, dx, rows);
  }

 private:
  static int Int(int64_t v) { return static_cast<int>(v); }
  int64_t in_channels() const { return spec_.in.channels / spec_.groups; }
  int64_t Pixels(int64_t rows) const { return rows * spec_.out.height * spec_.out.width; }
  bool mixed() const { return spec_.input != spec_.output; }
  bool half() const { return spec_.input == Dtype::kBF16; }
  const void* Weights(const float* w, const uint16_t* w16) const {
    return half() ? static_cast<const void*>(w16) : w;
  }

  // f(index in [out, in, height, width], index in [out, height, width, in]).
  template <class F>
  void EachWeight(const F& f) const {
    const int64_t in = in_channels(), taps = spec_.window.kernel_h * spec_.window.kernel_w;
    for (int64_t o = 0; o < spec_.out.channels; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t t = 0; t < taps; ++t) f((o * in + i) * taps + t, (o * taps + t) * in + i);
      }
    }
  }

  // Memory for max_rows images of the compute type.
  void* Room(Scratch* scratch, const ImageSize& image) {
    scratch->Reserve(spec_.max_rows * image.elements() * SizeOf(spec_.input), context_->compute);
    return scratch->data();
  }
  const void* Padded(const void* x, int64_t rows) {
    if (!copies_) return x;
    void* larger = Room(&inputs_, padded_);
    ShiftImages(context_, x, spec_.in, larger, padded_, spec_.window.top, spec_.window.left, rows,
                spec_.input);
    return larger;
  }

  void WeightGradient(const ConvolutionPlan& plan, const void* x, const void* dz, float* dw,
                      bool accumulate) {
    void* to = dw;
    if (half()) {
      weights16_.Reserve(weight_elements() * 2, context_->compute);
      to = weights16_.data();
    }
    const float one = 1, beta = accumulate && !half() ? 1 : 0;
    SetMath(plan.filter.math);
    Check(cudnnConvolutionBackwardFilter(context_->dnn(), &one, plan.x, x, plan.y, dz, convolution_,
                                         plan.filter.algorithm, context_->workspace.data(),
                                         plan.filter.workspace, &beta, filter_, to),
          "cudnnConvolutionBackwardFilter");
    context_->Launched("convolution weight gradient");
    if (!half()) return;
    if (accumulate) {
      AddBf16(context_, static_cast<const uint16_t*>(to), dw, weight_elements());
    } else {
      Convert(context_, to, Dtype::kBF16, dw, Dtype::kF32, weight_elements());
    }
  }

  void InputGradient(const ConvolutionPlan& plan, const void* dz, const float* w,
                     const uint16_t* w16, void* dx, int64_t rows) {
    // The padded input has been used by now: its gradient may take its place.
    void* to = copies_ ? Room(&inputs_, padded_) : dx;
    const float one = 1, zero = 0;
    SetMath(plan.data.math);
    Check(
        cudnnConvolutionBackwardData(context_->dnn(), &one, filter_, Weights(w, w16), plan.y, dz,
                                     convolution_, plan.data.algorithm, context_->workspace.data(),
                                     plan.data.workspace, &zero, plan.x, to),
        "cudnnConvolutionBackwardData");
    context_->Launched("convolution input gradient");
    if (copies_) {
      ShiftImages(context_, to, padded_, dx, spec_.in, -spec_.window.top, -spec_.window.left, rows,
                  spec_.input);
    }
  }

  void SetMath(cudnnMathType_t math) {
    Check(cudnnSetConvolutionMathType(convolution_, math), "cudnnSetConvolutionMathType");
  }

  // The first that is deterministic and asks for little enough memory.
  template <class Algorithm, class Found>
  Choice<Algorithm> Choose(const std::vector<Found>& found, const char* pass) const {
    for (const Found& f : found) {
      if (f.status == CUDNN_STATUS_SUCCESS && f.determinism == CUDNN_DETERMINISTIC &&
          f.memory <= kMostWorkspace) {
        return {f.algo, f.mathType, f.memory};
      }
    }
    throw Fail(ExitCode::kUsage, context_->where(), ": cuDNN has no deterministic algorithm for ",
               pass, " of a convolution of ", spec_.in.channels, " to ", spec_.out.channels,
               " channels in ", spec_.groups, " groups, ", spec_.window.kernel_h, "x",
               spec_.window.kernel_w, ", ", Name(spec_.input));
  }

  void Describe(cudnnTensorDescriptor_t tensor, const ImageSize& image, int64_t rows) const {
    Check(cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NHWC, TypeOf(spec_.input), Int(rows),
                                     Int(image.channels), Int(image.height), Int(image.width)),
          "cudnnSetTensor4dDescriptor");
  }

  const ConvolutionPlan& PlanFor(int64_t rows) {
    std::unique_ptr<ConvolutionPlan>& plan = plans_[rows];
    if (plan) return *plan;
    auto made = std::make_unique<ConvolutionPlan>();
    Describe(made->x, padded_, rows);
    Describe(made->y, spec_.out, rows);
    SetMath(half()             ? CUDNN_TENSOR_OP_MATH
            : context_->strict ? CUDNN_FMA_MATH
                               : CUDNN_DEFAULT_MATH);  // TF32
    constexpr int kMost = 16;
    int count = 0;
    std::vector<cudnnConvolutionFwdAlgoPerf_t> forward(kMost);
    Check(cudnnGetConvolutionForwardAlgorithm_v7(context_->dnn(), made->x, filter_, convolution_,
                                                 made->y, kMost, &count, forward.data()),
          "cudnnGetConvolutionForwardAlgorithm");
    forward.resize(static_cast<size_t>(count));
    made->forward = Choose<cudnnConvolutionFwdAlgo_t>(forward, "the outputs");
    std::vector<cudnnConvolutionBwdFilterAlgoPerf_t> filter(kMost);
    Check(
        cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            context_->dnn(), made->x, made->y, convolution_, filter_, kMost, &count, filter.data()),
        "cudnnGetConvolutionBackwardFilterAlgorithm");
    filter.resize(static_cast<size_t>(count));
    made->filter = Choose<cudnnConvolutionBwdFilterAlgo_t>(filter, "the gradient of weights");
    if (spec_.input_gradient) {
      std::vector<cudnnConvolutionBwdDataAlgoPerf_t> data(kMost);
      Check(
          cudnnGetConvolutionBackwardDataAlgorithm_v7(
              context_->dnn(), filter_, made->y, convolution_, made->x, kMost, &count, data.data()),
          "cudnnGetConvolutionBackwardDataAlgorithm");
      data.resize(static_cast<size_t>(count));
      made->data = Choose<cudnnConvolutionBwdDataAlgo_t>(data, "the gradient of the input");
    }
    const size_t most =
        std::max({made->forward.workspace, made->filter.workspace, made->data.workspace});
    context_->workspace.Reserve(static_cast<int64_t>(most), context_->compute);
    plan = std::move(made);
    return *plan;
  }

  const ConvSpec spec_;
  Context* const context_;
  ImageSize padded_;     // what cuDNN sees of an input
  bool copies_ = false;  // inputs go into larger images
  cudnnFilterDescriptor_t filter_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  std::map<int64_t, std::unique_ptr<ConvolutionPlan>> plans_;  // by images
  Scratch inputs_, outputs16_, weights16_;
};

}  // namespace

std::unique_ptr<AffineOp> MakeConvolutionOp(const ConvSpec& spec, Context* context) {
  return std::make_unique<Convolution>(spec, context);
}

}  // namespace mariana::cuda
