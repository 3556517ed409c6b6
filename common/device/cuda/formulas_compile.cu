// The shared formulas as device code: one kernel for each, so that nvcc refuses what a GPU could
// not run (a call of the host's library, a table in host memory) as soon as it is written. Nothing
// links this; the CUDA back end launches the same functions.
#include "common/device/formulas.h"

namespace mariana::cuda {

template <Activation a>
__global__ void ActivateKernel(const float* x, float* y, float* dy, int64_t n) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  y[i] = formulas::Apply<a>(x[i]);
  dy[i] *= formulas::Slope<a>(y[i]);
}

template __global__ void ActivateKernel<Activation::kNone>(const float*, float*, float*, int64_t);
template __global__ void ActivateKernel<Activation::kSigmoid>(const float*, float*, float*,
                                                              int64_t);
template __global__ void ActivateKernel<Activation::kTanh>(const float*, float*, float*, int64_t);
template __global__ void ActivateKernel<Activation::kRelu>(const float*, float*, float*, int64_t);

__global__ void LossKernel(const float* z, const float* t, float* loss, float* slope, int64_t n) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  loss[i] = formulas::LogisticLoss(z[i], t[i]) + formulas::Log(formulas::Exp(z[i]));
  slope[i] = formulas::LogisticSlope(z[i], t[i]);
}

__global__ void ImageKernel(const float* x, float* y, float* dy, float slope, int64_t n) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  y[i] = formulas::MultiplyAdd(x[i], formulas::LeakyRelu(x[i], slope), formulas::Gelu(x[i]));
  dy[i] *= formulas::LeakyReluSlope(y[i], slope) + formulas::GeluSlope(x[i]);
}

__global__ void DropoutKernel(const float* x, float* y, float rate, uint64_t seed, uint64_t stream,
                              int64_t n) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  const Philox4 bits = Philox(seed, stream, static_cast<uint64_t>(i) / 4);
  y[i] = formulas::Keep(bits.v[i % 4], rate) ? x[i] / (1 - rate) : 0;
}

__global__ void UpdateKernel(OptimizerStep s, formulas::AdamScalars a, const float* g, float* w,
                             uint16_t* w16, float* slot0, float* slot1, int64_t n) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  switch (s.kind) {
    case OptimizerKind::kSgd:
      w[i] = s.momentum == 0 ? formulas::Sgd(s, g[i], w[i])
             : s.nesterov    ? formulas::SgdMomentum<true>(s, g[i], w[i], &slot0[i])
                             : formulas::SgdMomentum<false>(s, g[i], w[i], &slot0[i]);
      break;
    case OptimizerKind::kAdaGrad: w[i] = formulas::AdaGrad(s, g[i], w[i], &slot0[i]); break;
    case OptimizerKind::kAdam: w[i] = formulas::Adam(s, a, g[i], w[i], &slot0[i], &slot1[i]); break;
  }
  w16[i] = formulas::ToBf16(w[i]);
}

}  // namespace mariana::cuda
