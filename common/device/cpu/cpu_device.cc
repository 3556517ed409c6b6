#include "common/device/cpu/cpu_device.h"

#include <glog/logging.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "common/base/error.h"
#include "common/device/cpu/kernels.h"
#include "common/device/cpu/linear.h"
#include "common/device/cpu/memory.h"
#include "common/device/cpu/pool.h"
#include "common/device/device.h"

namespace mariana {
namespace {

constexpr int64_t kGrain = 4096;        // elements worth handing to a thread
constexpr int64_t kColumnGrain = 16;    // columns, likewise
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
    const LinearContext context{&pool_, &memory_, &workspace_, &kernels_};
    if (spec.input == Dtype::kBF16) return MakeBf16Linear(spec, context);
    if (spec.input == Dtype::kF32 && spec.output == Dtype::kF32) {
      return MakeF32Linear(spec, context);
    }
    throw Fail(ExitCode::kUsage, "cpu device: no linear layer from ", Name(spec.input), " to ",
               Name(spec.output), "; f32 to f32, bf16 to bf16 and bf16 to f32 there are");
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
  void Convert(const void* x, Dtype from, void* y, Dtype to, int64_t n) override {
    pool_.Split(n, kGrain, [&](int64_t b, int64_t e) {
      kernels_.convert(At(x, b, from), from, At(y, b, to), to, e - b);
    });
  }
  void Dropout(const void* x, void* y, int64_t rows, int64_t cols, float rate, uint64_t seed,
               uint64_t stream, int64_t first_sample, Dtype t) override {
    CHECK(rate >= 0.0f && rate < 1.0f);
    pool_.Split(rows * cols, kGrain, [&](int64_t b, int64_t e) {
      kernels_.dropout(At(x, b, t), At(y, b, t), first_sample * cols + b, e - b, rate, seed, stream,
                       t);
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

  void BatchNormTrain(const BatchNormArgs& a, const void* x, const float* gamma, const float* beta,
                      void* y, float* stats, Dtype t) override {
    Strips(a.cols, [&](int64_t c, int64_t width) {
      int64_t row = 0;
      for (int g = 0; g < a.groups; row += a.group_rows[g++]) {
        float *mean = stats + 2 * g * a.cols + c, *variance = mean + a.cols;
        const void* group = At(x, row * a.cols + c, t);
        kernels_.norm_statistics(group, a.cols, a.group_rows[g], width, mean, variance, t);
        kernels_.norm_apply(group, a.cols, a.group_rows[g], width, gamma + c, beta + c, mean,
                            variance, a.epsilon, At(y, row * a.cols + c, t), t);
      }
    });
  }
  void BatchNormBackward(const BatchNormArgs& a, const void* x, const void* dy, const float* gamma,
                         const float* stats, void* dx, float* dgamma, float* dbeta, bool accumulate,
                         Dtype t) override {
    Strips(a.cols, [&](int64_t c, int64_t width) {
      if (!accumulate) {
        kernels_.fill(dgamma + c, 0.0f, width);
        kernels_.fill(dbeta + c, 0.0f, width);
      }
      int64_t row = 0;
      for (int g = 0; g < a.groups; row += a.group_rows[g++]) {
        const float *mean = stats + 2 * g * a.cols + c, *variance = mean + a.cols;
        const int64_t at = row * a.cols + c;
        kernels_.norm_backward(At(x, at, t), At(dy, at, t), a.cols, a.group_rows[g], width,
                               gamma + c, mean, variance, a.epsilon, At(dx, at, t), dgamma + c,
                               dbeta + c, t);
      }
    });
  }
  void BatchNormInfer(const void* x, const float* gamma, const float* beta, const float* mean,
                      const float* variance, void* y, int64_t rows, int64_t cols, float epsilon,
                      Dtype t) override {
    Strips(cols, [&](int64_t c, int64_t width) {
      kernels_.norm_apply(At(x, c, t), cols, rows, width, gamma + c, beta + c, mean + c,
                          variance + c, epsilon, At(y, c, t), t);
    });
  }

  LossSums SoftmaxCrossEntropy(const float* logits, const int32_t* labels, float* gradient,
                               float scale, int64_t rows, int64_t cols) override {
    return Rows(rows, cols, [&](int64_t r, bool* correct) {
      CHECK(labels[r] >= 0 && labels[r] < cols) << "label " << labels[r] << " of " << cols;
      return kernels_.softmax_cross_entropy(logits + r * cols, labels[r],
                                            gradient == nullptr ? nullptr : gradient + r * cols,
                                            scale, cols, correct);
    });
  }
  LossSums SquaredError(const float* outputs, const float* targets, float* gradient, float scale,
                        int64_t rows, int64_t cols) override {
    return Rows(rows, cols, [&](int64_t r, bool* correct) {
      return kernels_.squared_error(outputs + r * cols, targets + r * cols,
                                    gradient == nullptr ? nullptr : gradient + r * cols, scale,
                                    cols, correct);
    });
  }
  LossSums Logistic(const float* logits, const float* targets, float* gradient, float scale,
                    int64_t rows, int64_t cols) override {
    return Rows(rows, cols, [&](int64_t r, bool* correct) {
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

  template <class F>
  void Strips(int64_t cols, const F& strip) {
    pool_.Split(cols, kColumnGrain, [&](int64_t b, int64_t e) { strip(b, e - b); });
  }

  // A loss over rows; the rows' sums are added in row order, whatever the threads.
  template <class F>
  LossSums Rows(int64_t rows, int64_t cols, const F& row_loss) {
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
    return sums;
  }

  DeviceInfo info_;
  const Kernels& kernels_;
  HostMemory memory_;
  Workspace workspace_{&memory_};
  Pool pool_;
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
