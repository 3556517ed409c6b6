// Device: memory and the mathematics that every back end must have.
//
// A device is owned by `main` and passed by pointer; there are no globals. Calls are made by one
// thread at a time per device (its trainer thread) and complete in order; on the CPU they run
// inline on the caller and the device's own thread pool, elsewhere they are queued on its compute
// stream, and Synchronize() waits for them. Pointers are device memory unless a comment says host.
// Matrices are row-major, one sample a row. dtype kF32 or kBF16 (compute type of activations);
// parameters, gradients and statistics are always fp32. An operation that a back end lacks throws
// at construction of the op object, never falls back silently.
//
// The element-wise mathematics is in device/formulas.h, shared by all back ends.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/error.h"
#include "common/base/shape.h"

namespace mariana {

enum class Activation : uint8_t { kNone, kSigmoid, kTanh, kRelu };

struct DeviceInfo {
  std::string kind;          // "cpu", "cuda", "emulated"
  std::string name;          // "cpu:0 (2 threads, avx512)"
  int threads = 1;           // host threads that compute
  bool native_bf16 = false;  // bf16 arithmetic in hardware
  bool host_memory = true;   // device pointers can be read by the host
  bool queued = false;       // calls return before their work is done
  int64_t memory_bytes = 0;
};

// Weights of a linear layer live in the device's own (packed) layout inside the parameter arena;
// gradients have the same layout, so element-wise updates and exchanges need not know it.
// Padding elements are zero in both.
struct LinearSpec {
  int64_t max_rows = 0, in = 0, out = 0;
  Dtype input = Dtype::kF32;   // of x and dx; also the compute type
  Dtype output = Dtype::kF32;  // of y and dy (logits stay fp32 under bf16 compute)
  Activation activation = Activation::kNone;
  bool bias = true;
  bool input_gradient = true;  // false: dx is never asked for
};

// y = activation(A x + b), A a matrix product or a convolution with trained weights. `w` is the
// fp32 weight in packed layout, `w16` its bf16 shadow in the same order (null under fp32). Plain
// layout is PyTorch's: linear [out, in], convolution [out, in / groups, height, width].
class AffineOp {
 public:
  virtual ~AffineOp() = default;
  virtual int64_t weight_elements() const = 0;  // of the packed layout, padding included
  virtual void PackWeights(const float* plain, float* packed) const = 0;    // both host memory
  virtual void UnpackWeights(const float* packed, float* plain) const = 0;  // both host memory
  virtual void Forward(const void* x, const float* w, const uint16_t* w16, const float* b, void* y,
                       int64_t rows) = 0;
  // dy is overwritten with the gradient before the activation. dw and db are written, or added to
  // when `accumulate`. dx may be null; db is null when there is no bias.
  virtual void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t* w16,
                        void* dx, float* dw, float* db, int64_t rows, bool accumulate) = 0;
};

enum class OptimizerKind : uint8_t { kSgd, kAdaGrad, kAdam };

// Images are NHWC: one sample is [height, width, channels], channels innermost, on every device
// and between all operations, so that no activation is ever laid out anew.
struct ImageSize {
  int64_t height = 1, width = 1, channels = 1;
  int64_t elements() const { return height * width * channels; }
};

// Where a sliding window (of a convolution, of pooling) stands. Output extent =
// floor((in + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride) + 1.
struct Window {
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t top = 0, bottom = 0, left = 0, right = 0;  // padding, pixels
};

struct ConvSpec {
  int64_t max_rows = 0;  // images
  ImageSize in, out;
  Window window;
  int64_t groups = 1;
  Dtype input = Dtype::kF32;   // of x and dx; also the compute type
  Dtype output = Dtype::kF32;  // of y and dy
  Activation activation = Activation::kNone;
  bool bias = true;
  bool input_gradient = true;  // false: dx is never asked for
};

enum class PoolKind : uint8_t { kMax, kAverage };

struct PoolSpec {
  int64_t max_rows = 0;
  PoolKind kind = PoolKind::kMax;
  ImageSize in, out;  // the caller chooses out's extent (ceil mode reaches beyond the padding)
  Window window;      // no dilation
  bool count_padding = true;  // average: padding counts in the divisor
  Dtype dtype = Dtype::kF32;
};

class PoolOp {
 public:
  virtual ~PoolOp() = default;
  virtual int64_t saved_bytes() const = 0;  // for max_rows: written by Forward, read by Backward
  virtual void Forward(const void* x, void* y, void* saved, int64_t rows) = 0;
  virtual void Backward(const void* dy, const void* saved, void* dx, int64_t rows) = 0;
};

// Local response normalisation across channels (Krizhevsky et al. 2012), with PyTorch's scaling:
// y = x * (k + alpha / size * sum of x^2 over `size` channels around)^-beta.
struct LrnSpec {
  int64_t size = 5;
  float alpha = 1e-4f, beta = 0.75f, k = 1;
};

// Which columns of a layer a worker has that shares it with others: of a sample's columns, which
// are pixels of `channels` each, those are channels [first, first + channels) of the whole layer's.
struct DropoutPart {
  int64_t channels = 0, first = 0;
  int64_t whole = 0;  // 0: it has all of them
};

// One step of an optimizer over n consecutive elements. Fused: reads each of w, g and the state
// once, writes w (and w16) and the state once.
struct OptimizerStep {
  OptimizerKind kind = OptimizerKind::kSgd;
  float learning_rate = 0;
  float gradient_scale = 1;  // clipping; applied to g first
  float l1 = 0, l2 = 0;      // added to the gradient: l1 * sign(w) + l2 * w
  float weight_decay = 0;    // decoupled (AdamW): w -= learning_rate * weight_decay * w
  float momentum = 0;        // SGD (state: slot0)
  bool nesterov = false;
  double beta1 = 0, beta2 = 0;  // Adam (slot0 = m, slot1 = v); double: 1 - beta2 is small
  float bias1 = 1, bias2 = 1;   // Adam: 1 - beta^t
  float epsilon = 0;            // Adam, AdaGrad (slot0 = sum of squares)
};

// Reductions a loss makes over its rows; sums are over the rows given, not yet divided.
struct LossSums {
  double loss = 0;
  int64_t correct = 0;  // rows whose largest output is the label
};

// Softmax cross-entropy over classes that are split between workers.
struct SplitSoftmaxSpec {
  int64_t max_rows = 0;
  int64_t first = 0, classes = 0, whole = 0;  // this worker's are [first, first + classes) of whole
  int parts = 0;                              // workers that have classes
  float smoothing = 0;
};

// Each worker sums up its own classes; once every worker has the sums of all, each computes the
// same loss, and the gradient by its own outputs.
class SplitSoftmaxOp {
 public:
  static constexpr int64_t kSummary = 5;  // floats of one worker for one row
  virtual ~SplitSoftmaxOp() = default;
  // logits [rows, classes]; labels as of Device::SoftmaxCrossEntropy; summary [rows, kSummary].
  virtual void Summarize(const float* logits, const int32_t* labels, float* summary,
                         int64_t rows) = 0;
  // summaries [rows, parts, kSummary], in the order of classes; the sums are over all classes. The
  // gradient as of Device::SoftmaxCrossEntropy, of this worker's classes.
  virtual void Loss(const float* logits, const int32_t* labels, const float* summaries,
                    float* gradient, float scale, int64_t rows, LossSums* sums) = 0;
};

// Pieces of a step that a device may record and replay: a piece queues the same work, on the same
// memory, whenever it runs under the same key. What varies from step to step it reads from device
// memory. Here it just runs. Used by the trainer's thread.
class Pieces {
 public:
  using Key = std::array<int64_t, 8>;  // whatever the piece's work depends on
  virtual ~Pieces() = default;
  virtual void Run(const Key&, const std::function<void()>& queue) { queue(); }
  // Why pieces run unrecorded, one line; empty where all that repeat are replayed.
  virtual std::string unrecorded() const { return {}; }
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  // ---- memory: 64-byte aligned, zeroed. Throws Error(kIo) naming the size when out of memory.
  virtual void* Allocate(int64_t bytes) = 0;
  virtual void Free(void* p) = 0;
  virtual void Upload(void* dst, const void* host_src, int64_t bytes) = 0;
  virtual void Download(void* host_dst, const void* src, int64_t bytes) = 0;
  virtual void Copy(void* dst, const void* src, int64_t bytes) = 0;
  virtual void Synchronize() = 0;

  // ---- beside the trainer's thread. Where the host reads device memory and calls are inline, as
  // here, they are what any host code would do.
  // Upload from one other thread, into memory that no queued work uses; done on return.
  virtual void UploadAside(void* dst, const void* host_src, int64_t bytes) {
    Upload(dst, host_src, bytes);
  }
  // The work queued so far: the function returned waits for it, on any thread, once.
  virtual std::function<void()> Mark() {
    return [] {};
  }
  // The exchange: dst += src, or dst = src, with src in memory of `from`, a device of the same
  // kind (maybe this one). Called by one thread besides the trainer's and the uploading one; src
  // is final, dst is in no queued work; done on return.
  virtual void ReceiveAdd(Device* from, const float* src, float* dst, int64_t n);
  virtual void ReceiveCopy(Device* from, const float* src, float* dst, int64_t n);
  // The same with src in the host's memory, and this device's src into the host's. The fastest such
  // memory is what HostBuffer gives.
  virtual void AddFromHost(const float* src, float* dst, int64_t n);
  virtual void CopyFromHost(const float* src, float* dst, int64_t n);
  virtual void CopyToHost(const float* src, float* dst, int64_t n);
  virtual std::shared_ptr<char> HostBuffer(int64_t bytes) {
    return {new char[static_cast<size_t>(bytes)], std::default_delete<char[]>()};
  }
  virtual std::unique_ptr<Pieces> MakePieces() { return std::make_unique<Pieces>(); }

  // ---- linear algebra
  virtual std::unique_ptr<AffineOp> MakeLinear(const LinearSpec& spec) = 0;

  // ---- images
  virtual std::unique_ptr<AffineOp> MakeConvolution(const ConvSpec& spec) = 0;
  virtual std::unique_ptr<PoolOp> MakePool(const PoolSpec& spec) = 0;
  // x, y: [pixels, channels]. The scale is computed again in the backward pass.
  virtual void Lrn(const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t channels,
                   Dtype t) = 0;
  virtual void LrnBackward(const LrnSpec& spec, const void* x, const void* dy, void* dx,
                           int64_t pixels, int64_t channels, Dtype t) = 0;

  // ---- element-wise
  virtual void Fill(float* x, float value, int64_t n) = 0;
  virtual void Add(const void* a, const void* b, void* y, int64_t n,
                   Dtype t) = 0;                                 // y may be a or b
  virtual void AddF32(const float* x, float* y, int64_t n) = 0;  // y += x
  virtual void Activate(Activation a, const void* x, void* y, int64_t n, Dtype t) = 0;
  // dx = dy * a'(x), given y = a(x); dx may be dy.
  virtual void ActivateBackward(Activation a, const void* y, const void* dy, void* dx, int64_t n,
                                Dtype t) = 0;
  virtual void LeakyRelu(const void* x, void* y, float slope, int64_t n, Dtype t) = 0;
  virtual void LeakyReluBackward(const void* y, const void* dy, void* dx, float slope, int64_t n,
                                 Dtype t) = 0;  // slope > 0; dx may be dy
  // Hendrycks and Gimpel 2016, exact (erf).
  virtual void Gelu(const void* x, void* y, int64_t n, Dtype t) = 0;
  virtual void GeluBackward(const void* x, const void* dy, void* dx, int64_t n, Dtype t) = 0;
  // y = a * b + c; y may be any of them.
  virtual void MultiplyAdd(const void* a, const void* b, const void* c, void* y, int64_t n,
                           Dtype t) = 0;
  // da = dy * b, db = dy * a; null where not wanted, and either may be dy.
  virtual void MultiplyAddBackward(const void* a, const void* b, const void* dy, void* da, void* db,
                                   int64_t n, Dtype t) = 0;
  virtual void Convert(const void* x, Dtype from, void* y, Dtype to, int64_t n) = 0;
  // y = x * keep/(1-rate); keep is drawn from (seed, stream, (first_sample + row) * cols + col),
  // or, of a part, with the columns and the column that the element has in the whole layer. The
  // backward pass is the same call on dy. *first_sample is device memory.
  virtual void Dropout(const void* x, void* y, int64_t rows, int64_t cols, float rate,
                       uint64_t seed, uint64_t stream, const int64_t* first_sample,
                       const DropoutPart& part, Dtype t) = 0;
  // Columns [dst_col, dst_col + cols) of dst (row stride dst_stride elements) from src likewise.
  virtual void CopyColumns(const void* src, int64_t src_stride, int64_t src_col, void* dst,
                           int64_t dst_stride, int64_t dst_col, int64_t rows, int64_t cols,
                           Dtype t) = 0;
  // dst [rows, dst_stride] becomes src [rows, cols] in columns [dst_col, dst_col + cols), and zero
  // elsewhere.
  virtual void PlaceColumns(const void* src, void* dst, int64_t dst_stride, int64_t dst_col,
                            int64_t rows, int64_t cols, Dtype t) = 0;
  // A row of x is `vectors` vectors of `size`; of y, the dot products of all pairs i < j of them,
  // vectors * (vectors - 1) / 2, in the order (0, 1), (0, 2), ..., (1, 2), ... Sums are fp32.
  virtual void Dots(const void* x, void* y, int64_t rows, int64_t vectors, int64_t size,
                    Dtype t) = 0;
  virtual void DotsBackward(const void* x, const void* dy, void* dx, int64_t rows, int64_t vectors,
                            int64_t size, Dtype t) = 0;

  // ---- batch normalisation over `groups` consecutive runs of samples; group_rows[g] (host
  // array) samples each, a sample being `pixels` rows of `cols`. Statistics per group and column:
  // mean and biased variance. In one pass with it: y = activation(norm(x) + residual).
  struct BatchNormArgs {
    const int32_t* group_rows = nullptr;  // host
    int groups = 0;
    int64_t pixels = 1;
    int64_t cols = 0;
    float epsilon = 1e-5f;
    Activation activation = Activation::kNone;  // kNone or kRelu
  };
  // stats: [groups, 2, cols] mean then variance, written. gamma/beta: [cols]. residual: as x, or
  // null.
  virtual void BatchNormTrain(const BatchNormArgs& a, const void* x, const float* gamma,
                              const float* beta, const void* residual, void* y, float* stats,
                              Dtype t) = 0;
  // y (read only under kRelu) as Forward wrote it. dx may be dy. dresidual, or null: the gradient
  // behind the activation; may be dy when dx is not.
  virtual void BatchNormBackward(const BatchNormArgs& a, const void* x, const void* y,
                                 const void* dy, const float* gamma, const float* stats, void* dx,
                                 void* dresidual, float* dgamma, float* dbeta, bool accumulate,
                                 Dtype t) = 0;
  // Only pixels, cols, epsilon and activation of `a`; rows samples.
  virtual void BatchNormInfer(const BatchNormArgs& a, const void* x, const float* gamma,
                              const float* beta, const float* mean, const float* variance,
                              const void* residual, void* y, int64_t rows, Dtype t) = 0;

  // ---- losses on fp32 outputs [rows, cols]. gradient = scale * d(loss sum)/d(output), in place
  // allowed (gradient may be outputs) or null (evaluation). Labels are int32 (device). The sums are
  // added to *sums, device memory: they are read when the step is over.
  // Label smoothing (Szegedy et al. 2016): targets are 1 - smoothing + smoothing / cols at the
  // label, smoothing / cols elsewhere.
  virtual void SoftmaxCrossEntropy(const float* logits, const int32_t* labels, float* gradient,
                                   float scale, int64_t rows, int64_t cols, float smoothing,
                                   LossSums* sums) = 0;
  // Throws Error(kUsage) where the device has no such operation.
  virtual std::unique_ptr<SplitSoftmaxOp> MakeSplitSoftmax(const SplitSoftmaxSpec&) {
    throw Fail(ExitCode::kUsage, "a ", info().kind,
               " device has no softmax over split classes: use split: none for the last layer");
  }
  // 0.5 * sum over columns of (output - target)^2.
  virtual void SquaredError(const float* outputs, const float* targets, float* gradient,
                            float scale, int64_t rows, int64_t cols, LossSums* sums) = 0;
  // Binary cross-entropy on logits, targets in [0, 1].
  virtual void Logistic(const float* logits, const float* targets, float* gradient, float scale,
                        int64_t rows, int64_t cols, LossSums* sums) = 0;
  virtual void LogSoftmax(const float* logits, float* y, int64_t rows, int64_t cols) = 0;
  virtual void ArgMax(const float* x, int32_t* index, int64_t rows, int64_t cols) = 0;

  // ---- speech: y[i] = frames[clamp(center[i]+k, begin[i], end[i]-1)], k = -left..right,
  // concatenated; frames is fp32 [*, dim]; y is [rows, (left+1+right)*dim] of type t. The index
  // arrays are int32 device memory.
  virtual void Splice(const float* frames, int64_t dim, const int32_t* center, const int32_t* begin,
                      const int32_t* end, int64_t rows, int left, int right, void* y, Dtype t) = 0;

  // ---- parameters
  // w16 may be null. slots may be null where the kind does not use them.
  virtual void Update(const OptimizerStep& step, const float* g, float* w, uint16_t* w16,
                      float* slot0, float* slot1, int64_t n) = 0;
  // The same in a piece that may be replayed: what varies is read from *now, device memory, which
  // holds `step` as it is when the piece runs.
  virtual void UpdateFrom(const OptimizerStep& step, const OptimizerStep* /*now*/, const float* g,
                          float* w, uint16_t* w16, float* slot0, float* slot1, int64_t n) {
    Update(step, g, w, w16, slot0, slot1, n);
  }
  // Sum of squares in float64, summed in an order that depends on n alone (not on threads).
  // NaN or Inf in x makes it NaN or Inf.
  virtual double SumOfSquares(const float* x, int64_t n) = 0;
  // Adds it to *sum, device memory, without waiting.
  virtual void AddSumOfSquares(const float* x, int64_t n, double* sum) {
    *sum += SumOfSquares(x, n);
  }
};

inline void Device::ReceiveAdd(Device*, const float* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] += src[i];
}
inline void Device::ReceiveCopy(Device*, const float* src, float* dst, int64_t n) {
  __builtin_memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
}
inline void Device::AddFromHost(const float* src, float* dst, int64_t n) {
  ReceiveAdd(this, src, dst, n);
}
inline void Device::CopyFromHost(const float* src, float* dst, int64_t n) {
  ReceiveCopy(this, src, dst, n);
}
inline void Device::CopyToHost(const float* src, float* dst, int64_t n) {
  ReceiveCopy(this, src, dst, n);
}

// --device=cpu. `threads` >= 1; `first_core` pins the pool to cores first_core.. when the machine
// has as many (negative: no pinning).
std::unique_ptr<Device> MakeCpuDevice(int index, int threads, int first_core);
// Cores this process may use.
int AvailableCores();
// Whether bf16 arithmetic is in this CPU's instruction set.
bool CpuHasNativeBf16();

}  // namespace mariana
