// The inner loops of the CPU device, as a table of functions over consecutive elements or rows,
// compiled once per instruction set (kernels/*.cc with MARIANA_ISA = avx2, avx512; BUILD gives
// the compiler flags) and chosen once at run time. They run on one thread; the device splits the
// work. Row-major; `stride`s are in elements; arguments may alias only when equal.
// Nothing here throws or allocates. Thread-safe.
#pragma once

#include <cstdint>

#include "common/device/device.h"

namespace mariana {

struct Kernels {
  const char* isa;  // "avx512"

  // ---- element-wise, n elements (kernels/elementwise.cc)
  void (*fill)(float* x, float value, int64_t n);
  void (*add)(const void* a, const void* b, void* y, int64_t n, Dtype t);
  void (*activate)(Activation a, const void* x, void* y, int64_t n, Dtype t);
  void (*activate_backward)(Activation a, const void* y, const void* dy, void* dx, int64_t n,
                            Dtype t);
  void (*convert)(const void* x, Dtype from, void* y, Dtype to, int64_t n);
  // Elements first .. first + n of the flat index that the draws are numbered by.
  void (*dropout)(const void* x, void* y, int64_t first, int64_t n, float rate, uint64_t seed,
                  uint64_t stream, Dtype t);

  // ---- around a linear layer (kernels/linear.cc)
  // y = a(y + b), y [rows, cols] fp32; b may be null.
  void (*bias_activate)(Activation a, const float* b, float* y, int64_t stride, int64_t rows,
                        int64_t cols);
  // dy *= a'(y) in place; db = or += its column sums (skipped when null), summed from the first
  // row to the last. copy16, when not null, receives the result rounded to bf16 (same stride).
  void (*slope_and_sums)(Activation a, const void* y, void* dy, int64_t stride, int64_t rows,
                         int64_t cols, float* db, bool accumulate, uint16_t* copy16, Dtype t);

  // ---- batch normalisation of one group, columns [0, cols) (kernels/batch_norm.cc)
  void (*norm_statistics)(const void* x, int64_t stride, int64_t rows, int64_t cols, float* mean,
                          float* variance, Dtype t);
  void (*norm_apply)(const void* x, int64_t stride, int64_t rows, int64_t cols, const float* gamma,
                     const float* beta, const float* mean, const float* variance, float epsilon,
                     void* y, Dtype t);
  // Adds to dgamma and dbeta.
  void (*norm_backward)(const void* x, const void* dy, int64_t stride, int64_t rows, int64_t cols,
                        const float* gamma, const float* mean, const float* variance, float epsilon,
                        void* dx, float* dgamma, float* dbeta, Dtype t);

  // ---- losses, one row (kernels/losses.cc). They return the row's loss and set *correct.
  double (*softmax_cross_entropy)(const float* x, int32_t label, float* gradient, float scale,
                                  int64_t cols, bool* correct);
  double (*squared_error)(const float* x, const float* target, float* gradient, float scale,
                          int64_t cols, bool* correct);
  double (*logistic)(const float* x, const float* target, float* gradient, float scale,
                     int64_t cols, bool* correct);
  void (*log_softmax)(const float* x, float* y, int64_t cols);
  int32_t (*arg_max)(const float* x, int64_t cols);  // the first of equals

  // ---- parameters (kernels/update.cc)
  void (*update)(const OptimizerStep& step, const float* g, float* w, uint16_t* w16, float* slot0,
                 float* slot1, int64_t n);
  double (*sum_of_squares)(const float* x, int64_t n);
};

// The best this CPU can run. Error(kUsage) when it lacks AVX2.
const Kernels& BestKernels();

}  // namespace mariana
