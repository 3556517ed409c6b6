#include "common/device/cpu/cpu_device.h"

#include <glog/logging.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "common/base/error.h"
#include "common/device/cpu/batch_norm.h"
#include "common/device/cpu/context.h"
#include "common/device/cpu/convolution.h"
#include "common/device/cpu/kernels.h"
#include "common/device/cpu/linear.h"
#include "common/device/cpu/memory.h"
#include "common/device/cpu/pool.h"
#include "common/device/cpu/pooling.h"
#include "common/device/device.h"

namespace mariana {
namespace {

constexpr int64_t kGrain = 4096;        // elements worth handing to a thread
constexpr int64_t kSumBlock = 1 << 16;  // elements of SumOfSquares summed as one

template <class T>
T* At(T* p, int64_t i, Dtype t) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return reinterpret_cast<Byte*>(p) + i * SizeOf(t);
}

class CpuDevice : public Device {
 public:
  CpuDevice(const Kernels& kernels, int index, int threads, int first_core)
      : kernels_(kernels), pool_(threads, first_core) {
    info_.kind = "cpu";
    info_.name = StrCat("cpu:", index, " (", threads, threads == 1 ? " thread, " : " threads, ",
                        kernels_.isa, ")");
    info_.threads = threads;
    info_.native_bf16 = CpuHasNativeBf16();
    info_.memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  }

  const DeviceInfo& info() const override { return info_; }

  void* Allocate(int64_t bytes) override { return memory_.Allocate(bytes); }
  void Free(void* p) override { memory_.Free(p); }
  void Upload(void* dst, const void* src, int64_t bytes) override { Copy(dst, src, bytes); }
  void Download(void* dst, const void* src, int64_t bytes) override { Copy(dst, src, bytes); }
  void Copy(void* dst, const void* src, int64_t bytes) override {
    pool_.Split(bytes, 1 << 16, [&](int64_t b, int64_t e) {
      std::memcpy(static_cast<char*>(dst) + b, static_cast<const char*>(src) + b, e - b);
    });
  }
  void Synchronize() override {}

  std::unique_ptr<AffineOp> MakeLinear(const LinearSpec& spec) override {
    CHECK(spec.in > 0 && spec.out > 0 && spec.max_rows > 0);
    const bool f32 = spec.input == Dtype::kF32 && spec.output == Dtype::kF32;
    if (!f32 && spec.input != Dtype::kBF16) {
      throw Fail(ExitCode::kUsage, "cpu device: no linear layer from ", Name(spec.input), " to ",
                 Name(spec.output), "; f32 to f32, bf16 to bf16 and bf16 to f32 there are");
    }
    if (spec.out <= kNarrowOutputs) return MakeNarrowLinear(spec, context_);
    return f32 ? MakeF32Linear(spec, context_) : MakeBf16Linear(spec, context_);
  }

  std::unique_ptr<AffineOp> MakeConvolution(const ConvSpec& spec) override {
    CHECK(spec.max_rows > 0 && spec.in.elements() > 0 && spec.out.elements() > 0);
    if (spec.input == Dtype::kF32 && spec.output != Dtype::kF32) {
      throw Fail(ExitCode::kUsage, "cpu device: no convolution from ", Name(spec.input), " to ",
                 Name(spec.output), "; f32 to f32, bf16 to bf16 and bf16 to f32 there are");
    }
    return MakeConvolutionOp(spec, context_);
  }
  std::unique_ptr<PoolOp> MakePool(const PoolSpec& spec) override {
    return MakePoolOp(spec, context_);
  }
  void Lrn(const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t channels,
           Dtype t) override {
    Parts(pixels, LrnScratch(spec, channels), [&](int64_t b, int64_t e, float* scratch) {
      kernels_.lrn(spec, At(x, b * channels, t), At(y, b * channels, t), e - b, channels, scratch,
                   t);
    });
  }
  void LrnBackward(const LrnSpec& spec, const void* x, const void* dy, void* dx, int64_t pixels,
                   int64_t channels, Dtype t) override {
    Parts(pixels, LrnScratch(spec, channels), [&](int64_t b, int64_t e, float* scratch) {
      kernels_.lrn_backward(spec, At(x, b * channels, t), At(dy, b * channels, t),
                            At(dx, b * channels, t), e - b, channels, scratch, t);
    });
  }

  void Fill(float* x, float value, int64_t n) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) { kernels_.fill(x + b, value, e - b); });
  }
  void Add(const void* a, const void* x, void* y, int64_t n, Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.add(At(a, b, t), At(x, b, t), At(y, b, t), e - b, t);
    });
  }
  void AddF32(const float* x, float* y, int64_t n) override { Add(x, y, y, n, Dtype::kF32); }
  void Activate(Activation a, const void* x, void* y, int64_t n, Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.activate(a, At(x, b, t), At(y, b, t), e - b, t);
    });
  }
  void ActivateBackward(Activation a, const void* y, const void* dy, void* dx, int64_t n,
                        Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.activate_backward(a, At(y, b, t), At(dy, b, t), At(dx, b, t), e - b, t);
    });
  }
  void LeakyRelu(const void* x, void* y, float slope, int64_t n, Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.leaky_relu(At(x, b, t), At(y, b, t), slope, e - b, t);
    });
  }
  void LeakyReluBackward(const void* y, const void* dy, void* dx, float slope, int64_t n,
                         Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.leaky_relu_backward(At(y, b, t), At(dy, b, t), At(dx, b, t), slope, e - b, t);
    });
  }
  void Gelu(const void* x, void* y, int64_t n, Dtype t) override {
    pool_.Split(n, kGrain,
                [&](int64_t b, int64_t e) { kernels_.gelu(At(x, b, t), At(y, b, t), e - b, t); });
  }
  void GeluBackward(const void* x, const void* dy, void* dx, int64_t n, Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.gelu_backward(At(x, b, t), At(dy, b, t), At(dx, b, t), e - b, t);
    });
  }
  void MultiplyAdd(const void* a, const void* b, const void* c, void* y, int64_t n,
                   Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t begin, int64_t end) {
      kernels_.multiply_add(At(a, begin, t), At(b, begin, t), At(c, begin, t), At(y, begin, t),
                            end - begin, t);
    });
  }
  void MultiplyAddBackward(const void* a, const void* b, const void* dy, void* da, void* db,
                           int64_t n, Dtype t) override {
    pool_.Split(n, kGrain, [&](int64_t begin, int64_t end) {
      const auto at = [&](void* p) { return p == nullptr ? nullptr : At(p, begin, t); };
      kernels_.multiply_add_backward(At(a, begin, t), At(b, begin, t), At(dy, begin, t), at(da),
                                     at(db), end - begin, t);
    });
  }
  void Convert(const void* x, Dtype from, void* y, Dtype to, int64_t n) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.convert(At(x, b, from), from, At(y, b, to), to, e - b);
    });
  }
  void Dropout(const void* x, void* y, int64_t rows, int64_t cols, float rate, uint64_t seed,
               uint64_t stream, const int64_t* first_sample, const DropoutPart& part,
               Dtype t) override {
    CHECK(rate >= 0.0f && rate < 1.0f);
    if (part.whole > 0) {  // pixel by pixel
      const int64_t pixels = cols / part.channels;
      return pool_.Split(rows * pixels, RowGrain(part.channels), [&](int64_t b, int64_t e) {
        for (int64_t r = b; r < e; ++r) {
          kernels_.dropout(At(x, r * part.channels, t), At(y, r * part.channels, t),
                           (*first_sample * pixels + r) * part.whole + part.first, part.channels,
                           rate, seed, stream, t);
        }
      });
    }
    pool_.Split(rows * cols, kGrain, [&](int64_t b, int64_t e) {
      kernels_.dropout(At(x, b, t), At(y, b, t), *first_sample * cols + b, e - b, rate, seed,
                       stream, t);
    });
  }
  void CopyColumns(const void* src, int64_t src_stride, int64_t src_col, void* dst,
                   int64_t dst_stride, int64_t dst_col, int64_t rows, int64_t cols,
                   Dtype t) override {
    pool_.Split(rows, RowGrain(cols), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) {
        std::memcpy(At(dst, r * dst_stride + dst_col, t), At(src, r * src_stride + src_col, t),
                    cols * SizeOf(t));
      }
    });
  }

  void PlaceColumns(const void* src, void* dst, int64_t dst_stride, int64_t dst_col, int64_t rows,
                    int64_t cols, Dtype t) override {
    const int64_t end = dst_col + cols;
    pool_.Split(rows, RowGrain(dst_stride), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) {
        std::memset(At(dst, r * dst_stride, t), 0, dst_col * SizeOf(t));
        std::memcpy(At(dst, r * dst_stride + dst_col, t), At(src, r * cols, t), cols * SizeOf(t));
        std::memset(At(dst, r * dst_stride + end, t), 0, (dst_stride - end) * SizeOf(t));
      }
    });
  }
  void Dots(const void* x, void* y, int64_t rows, int64_t vectors, int64_t size, Dtype t) override {
    const DotsShape shape{vectors, size};
    const int64_t in = vectors * size, out = shape.products();
    Parts(rows, shape.scratch(), [&](int64_t b, int64_t e, float* scratch) {
      kernels_.dots(shape, At(x, b * in, t), At(y, b * out, t), e - b, scratch, t);
    });
  }
  void DotsBackward(const void* x, const void* dy, void* dx, int64_t rows, int64_t vectors,
                    int64_t size, Dtype t) override {
    const DotsShape shape{vectors, size};
    const int64_t in = vectors * size, out = shape.products();
    Parts(rows, shape.scratch(), [&](int64_t b, int64_t e, float* scratch) {
      kernels_.dots_backward(shape, At(x, b * in, t), At(dy, b * out, t), At(dx, b * in, t), e - b,
                             scratch, t);
    });
  }

  void BatchNormTrain(const BatchNormArgs& a, const void* x, const float* gamma, const float* beta,
                      const void* residual, void* y, float* stats, Dtype t) override {
    batch_norms_.Train(a, x, gamma, beta, residual, y, stats, t);
  }
  void BatchNormBackward(const BatchNormArgs& a, const void* x, const void* y, const void* dy,
                         const float* gamma, const float* stats, void* dx, void* dresidual,
                         float* dgamma, float* dbeta, bool accumulate, Dtype t) override {
    batch_norms_.Backward(a, x, y, dy, gamma, stats, dx, dresidual, dgamma, dbeta, accumulate, t);
  }
  void BatchNormInfer(const BatchNormArgs& a, const void* x, const float* gamma, const float* beta,
                      const float* mean, const float* variance, const void* residual, void* y,
                      int64_t rows, Dtype t) override {
    batch_norms_.Infer(a, x, gamma, beta, mean, variance, residual, y, rows, t);
  }

  void SoftmaxCrossEntropy(const float* logits, const int32_t* labels, float* gradient, float scale,
                           int64_t rows, int64_t cols, float smoothing, LossSums* sums) override {
    Rows(rows, cols, sums, [&](int64_t r, bool* correct) {
      CHECK(labels[r] >= 0 && labels[r] < cols) << "label " << labels[r] << " of " << cols;
      return kernels_.softmax_cross_entropy(logits + r * cols, labels[r],
                                            gradient == nullptr ? nullptr : gradient + r * cols,
                                            scale, cols, smoothing, correct);
    });
  }
  std::unique_ptr<SplitSoftmaxOp> MakeSplitSoftmax(const SplitSoftmaxSpec& spec) override {
    return std::make_unique<SplitSoftmax>(spec, this);
  }
  void SquaredError(const float* outputs, const float* targets, float* gradient, float scale,
                    int64_t rows, int64_t cols, LossSums* sums) override {
    Rows(rows, cols, sums, [&](int64_t r, bool* correct) {
      return kernels_.squared_error(outputs + r * cols, targets + r * cols,
                                    gradient == nullptr ? nullptr : gradient + r * cols, scale,
                                    cols, correct);
    });
  }
  void Logistic(const float* logits, const float* targets, float* gradient, float scale,
                int64_t rows, int64_t cols, LossSums* sums) override {
    Rows(rows, cols, sums, [&](int64_t r, bool* correct) {
      return kernels_.logistic(logits + r * cols, targets + r * cols,
                               gradient == nullptr ? nullptr : gradient + r * cols, scale, cols,
                               correct);
    });
  }
  void LogSoftmax(const float* logits, float* y, int64_t rows, int64_t cols) override {
    pool_.Split(rows, RowGrain(cols), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) kernels_.log_softmax(logits + r * cols, y + r * cols, cols);
    });
  }
  void ArgMax(const float* x, int32_t* index, int64_t rows, int64_t cols) override {
    pool_.Split(rows, RowGrain(cols), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) index[r] = kernels_.arg_max(x + r * cols, cols);
    });
  }

  void Splice(const float* frames, int64_t dim, const int32_t* center, const int32_t* begin,
              const int32_t* end, int64_t rows, int left, int right, void* y, Dtype t) override {
    const int64_t width = (left + 1 + right) * dim;
    pool_.Split(rows, RowGrain(width), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) {
        for (int k = -left; k <= right; ++k) {
          int32_t frame = center[r] + k;
          if (frame < begin[r]) frame = begin[r];
          if (frame >= end[r]) frame = end[r] - 1;
          kernels_.convert(frames + int64_t{frame} * dim, Dtype::kF32,
                           At(y, r * width + (k + left) * dim, t), t, dim);
        }
      }
    });
  }

  void Update(const OptimizerStep& step, const float* g, float* w, uint16_t* w16, float* slot0,
              float* slot1, int64_t n) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      const auto at = [&](auto* p) { return p == nullptr ? nullptr : p + b; };
      kernels_.update(step, g + b, w + b, at(w16), at(slot0), at(slot1), e - b);
    });
  }
  double SumOfSquares(const float* x, int64_t n) override {
    const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
    if (static_cast<int64_t>(partial_.size()) < blocks) partial_.resize(blocks);
    pool_.Split(blocks, 1, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        const int64_t first = i * kSumBlock;
        partial_[i] = kernels_.sum_of_squares(x + first, std::min(kSumBlock, n - first));
      }
    });
    double sum = 0;
    for (int64_t i = 0; i < blocks; ++i) sum += partial_[i];
    return sum;
  }

 private:
  static int64_t RowGrain(int64_t cols) { return cols >= kGrain ? 1 : kGrain / (cols + 1) + 1; }

  // part(begin, end, scratch memory of `floats`) over [0, n).
  template <class F>
  void Parts(int64_t n, int64_t floats, const F& part) {
    workspace_.Reserve(floats * pool_.threads());
    const int64_t parts = std::min<int64_t>(n, pool_.threads());
    pool_.Run(parts, [&](int64_t i) {
      part(n * i / parts, n * (i + 1) / parts, workspace_.data() + i * floats);
    });
  }
  static int64_t LrnScratch(const LrnSpec& spec, int64_t channels) {
    return 3 * channels + 2 * spec.size;
  }

  // A loss over rows; the rows' sums are added in row order, whatever the threads.
  template <class F>
  void Rows(int64_t rows, int64_t cols, LossSums* to, const F& row_loss) {
    if (static_cast<int64_t>(partial_.size()) < rows) partial_.resize(rows);
    if (static_cast<int64_t>(correct_.size()) < rows) correct_.resize(rows);
    pool_.Split(rows, RowGrain(cols), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) {
        bool correct = false;
        partial_[r] = row_loss(r, &correct);
        correct_[r] = correct;
      }
    });
    LossSums sums;
    for (int64_t r = 0; r < rows; ++r) {
      sums.loss += partial_[r];
      sums.correct += correct_[r];
    }
    to->loss += sums.loss;
    to->correct += sums.correct;
  }

  class SplitSoftmax : public SplitSoftmaxOp {
   public:
    SplitSoftmax(const SplitSoftmaxSpec& spec, CpuDevice* device) : spec_(spec), device_(device) {
      CHECK(spec.classes > 0 && spec.first + spec.classes <= spec.whole);
    }
    void Summarize(const float* logits, const int32_t* labels, float* summary,
                   int64_t rows) override {
      device_->pool_.Split(rows, RowGrain(spec_.classes), [&](int64_t b, int64_t e) {
        for (int64_t r = b; r < e; ++r) {
          CHECK(labels[r] >= 0 && labels[r] < spec_.whole)
              << "label " << labels[r] << " of " << spec_.whole;
          device_->kernels_.softmax_summary(logits + r * spec_.classes, labels[r] - spec_.first,
                                            spec_.classes, summary + r * kSummary);
        }
      });
    }
    void Loss(const float* logits, const int32_t* labels, const float* summaries, float* gradient,
              float scale, int64_t rows, LossSums* sums) override {
      const int64_t n = spec_.classes;
      device_->Rows(rows, n, sums, [&](int64_t r, bool* correct) {
        return device_->kernels_.softmax_part(
            logits + r * n, labels[r] - spec_.first, spec_, summaries + r * spec_.parts * kSummary,
            gradient == nullptr ? nullptr : gradient + r * n, scale, correct);
      });
    }

   private:
    const SplitSoftmaxSpec spec_;
    CpuDevice* const device_;
  };

  DeviceInfo info_;
  const Kernels& kernels_;
  HostMemory memory_;
  Workspace workspace_{&memory_};
  Pool pool_;
  const CpuContext context_{&pool_, &memory_, &workspace_, &kernels_};
  BatchNorms batch_norms_{context_};
  std::vector<double> partial_;   // sums of rows or blocks, grown once
  std::vector<uint8_t> correct_;  // of rows
};

}  // namespace

std::unique_ptr<Device> MakeCpuDeviceWith(const Kernels& kernels, int index, int threads,
                                          int first_core) {
  CHECK_GE(threads, 1);
  return std::make_unique<CpuDevice>(kernels, index, threads, first_core);
}

std::unique_ptr<Device> MakeCpuDevice(int index, int threads, int first_core) {
  return MakeCpuDeviceWith(UsableKernels().front(), index, threads, first_core);
}

}  // namespace mariana
