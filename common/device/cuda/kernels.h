// The kernels, queued on a context's compute stream: what Device promises, over device memory.
#pragma once

#include "common/device/cuda/context.h"
#include "common/device/device.h"

namespace mariana::cuda {

// ---- element-wise (elementwise.cu)
void Fill(Context* c, float* x, float value, int64_t n);
void Add(Context* c, const void* a, const void* b, void* y, int64_t n, Dtype t);
// y += x on any stream: the exchange's.
void AddOn(cudaStream_t stream, const float* x, float* y, int64_t n);
void Activate(Context* c, Activation a, const void* x, void* y, int64_t n, Dtype t);
void ActivateBackward(Context* c, Activation a, const void* y, const void* dy, void* dx, int64_t n,
                      Dtype t);
void LeakyRelu(Context* c, const void* x, void* y, float slope, int64_t n, Dtype t);
void LeakyReluBackward(Context* c, const void* y, const void* dy, void* dx, float slope, int64_t n,
                       Dtype t);
void Gelu(Context* c, const void* x, void* y, int64_t n, Dtype t);
void GeluBackward(Context* c, const void* x, const void* dy, void* dx, int64_t n, Dtype t);
void MultiplyAdd(Context* c, const void* a, const void* b, const void* x, void* y, int64_t n,
                 Dtype t);
void MultiplyAddBackward(Context* c, const void* a, const void* b, const void* dy, void* da,
                         void* db, int64_t n, Dtype t);
// y += x, from bf16.
void AddBf16(Context* c, const uint16_t* x, float* y, int64_t n);
void Convert(Context* c, const void* x, Dtype from, void* y, Dtype to, int64_t n);
void Dropout(Context* c, const void* x, void* y, int64_t rows, int64_t cols, float rate,
             uint64_t seed, uint64_t stream, const int64_t* first_sample, const DropoutPart& part,
             Dtype t);
// y = a(y + b) over rows of `cols`; b may be null.
void BiasActivate(Context* c, Activation a, const float* b, void* y, int64_t rows, int64_t cols,
                  Dtype t);

// ---- over rows and columns (columns.cu)
void CopyColumns(Context* c, const void* src, int64_t src_stride, int64_t src_col, void* dst,
                 int64_t dst_stride, int64_t dst_col, int64_t rows, int64_t cols, Dtype t);
void PlaceColumns(Context* c, const void* src, void* dst, int64_t dst_stride, int64_t dst_col,
                  int64_t rows, int64_t cols, Dtype t);
void Splice(Context* c, const float* frames, int64_t dim, const int32_t* center,
            const int32_t* begin, const int32_t* end, int64_t rows, int left, int right, void* y,
            Dtype t);
void Dots(Context* c, const void* x, void* y, int64_t rows, int64_t vectors, int64_t size, Dtype t);
void DotsBackward(Context* c, const void* x, const void* dy, void* dx, int64_t rows,
                  int64_t vectors, int64_t size, Dtype t);
void Lrn(Context* c, const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t channels,
         Dtype t);
void LrnBackward(Context* c, const LrnSpec& spec, const void* x, const void* dy, void* dx,
                 int64_t pixels, int64_t channels, Dtype t);
// `images` images at (top, left) of larger ones, zeros around; negative: the larger ones cropped.
void ShiftImages(Context* c, const void* from, const ImageSize& in, void* to, const ImageSize& out,
                 int64_t top, int64_t left, int64_t images, Dtype t);
void PoolForwardPass(Context* c, const PoolSpec& spec, const void* x, void* y, void* saved,
                     int64_t images);
void PoolBackwardPass(Context* c, const PoolSpec& spec, const void* dy, const void* saved, void* dx,
                      int64_t images);

// ---- reductions (sums.cu); their order depends on the shape alone
// dy *= a'(y) in place (kNone: untouched, y may be null), and db = or += its column sums; db may be
// null.
void SlopeAndSums(Context* c, Activation a, const void* y, void* dy, int64_t rows, int64_t cols,
                  float* db, bool accumulate, Dtype t);
void AddSumOfSquares(Context* c, const float* x, int64_t n, double* sum);

// ---- losses (losses.cu)
void SoftmaxCrossEntropy(Context* c, const float* logits, const int32_t* labels, float* gradient,
                         float scale, int64_t rows, int64_t cols, float smoothing, LossSums* sums);
void SquaredError(Context* c, const float* outputs, const float* targets, float* gradient,
                  float scale, int64_t rows, int64_t cols, LossSums* sums);
void Logistic(Context* c, const float* logits, const float* targets, float* gradient, float scale,
              int64_t rows, int64_t cols, LossSums* sums);
void LogSoftmax(Context* c, const float* logits, float* y, int64_t rows, int64_t cols);
void ArgMax(Context* c, const float* x, int32_t* index, int64_t rows, int64_t cols);

// ---- batch normalisation (batch_norm.cu)
void BatchNormTrain(Context* c, const Device::BatchNormArgs& a, const void* x, const float* gamma,
                    const float* beta, const void* residual, void* y, float* stats, Dtype t);
void BatchNormBackward(Context* c, const Device::BatchNormArgs& a, const void* x, const void* y,
                       const void* dy, const float* gamma, const float* stats, void* dx,
                       void* dresidual, float* dgamma, float* dbeta, bool accumulate, Dtype t);
void BatchNormInfer(Context* c, const Device::BatchNormArgs& a, const void* x, const float* gamma,
                    const float* beta, const float* mean, const float* variance,
                    const void* residual, void* y, int64_t rows, Dtype t);

// ---- parameters (update.cu)
// *now, device memory, counts in place of `step` where it is not null; their kinds are the same.
void Update(Context* c, const OptimizerStep& step, const OptimizerStep* now, const float* g,
            float* w, uint16_t* w16, float* slot0, float* slot1, int64_t n);

}  // namespace mariana::cuda
