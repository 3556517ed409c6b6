// Batch normalisation (Ioffe and Szegedy 2015) of one group of rows, in strips of columns whose
// sums stay in the first cache. Two passes for the variance: no cancellation.
#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

constexpr int64_t kStrip = 256;

// f(first column, width) for each strip.
template <class F>
[[gnu::always_inline]] inline void Strips(int64_t cols, const F& f) {
  for (int64_t c = 0; c < cols; c += kStrip) f(c, cols - c < kStrip ? cols - c : kStrip);
}

void Statistics(const void* x, int64_t stride, int64_t rows, int64_t cols, float* mean,
                float* variance, Dtype t) {
  const float inverse = 1.0f / static_cast<float>(rows);
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Strips(cols, [=](int64_t c, int64_t width) {
      const T* p = static_cast<const T*>(x) + c;
      float sum[kStrip] = {}, squares[kStrip] = {};
      float *s = sum, *q = squares;
      for (int64_t r = 0; r < rows; ++r) {
        Each(width, [=](int64_t i) { s[i] += Load(p + r * stride, i); });
      }
      Each(width, [=](int64_t i) { s[i] *= inverse; });
      for (int64_t r = 0; r < rows; ++r) {
        Each(width, [=](int64_t i) {
          const float d = Load(p + r * stride, i) - s[i];
          q[i] += d * d;
        });
      }
      Each(width, [=](int64_t i) {
        mean[c + i] = s[i];
        variance[c + i] = q[i] * inverse;
      });
    });
  });
}

void Apply(const void* x, int64_t stride, int64_t rows, int64_t cols, const float* gamma,
           const float* beta, const float* mean, const float* variance, float epsilon, void* y,
           Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Strips(cols, [=](int64_t c, int64_t width) {
      const T* p = static_cast<const T*>(x) + c;
      T* q = static_cast<T*>(y) + c;
      float slope[kStrip];
      float* k = slope;
      Each(width,
           [=](int64_t i) { k[i] = gamma[c + i] / __builtin_sqrtf(variance[c + i] + epsilon); });
      for (int64_t r = 0; r < rows; ++r) {
        Each(width, [=](int64_t i) {
          Store(q + r * stride, i, (Load(p + r * stride, i) - mean[c + i]) * k[i] + beta[c + i]);
        });
      }
    });
  });
}

void Backward(const void* x, const void* dy, int64_t stride, int64_t rows, int64_t cols,
              const float* gamma, const float* mean, const float* variance, float epsilon, void* dx,
              float* dgamma, float* dbeta, Dtype t) {
  const float inverse = 1.0f / static_cast<float>(rows);
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Strips(cols, [=](int64_t c, int64_t width) {
      const T *p = static_cast<const T*>(x) + c, *d = static_cast<const T*>(dy) + c;
      T* out = static_cast<T*>(dx) + c;
      float root[kStrip], sum[kStrip] = {}, product[kStrip] = {};  // of dy, and of dy * xhat
      float *k = root, *s = sum, *q = product;
      Each(width, [=](int64_t i) { k[i] = 1.0f / __builtin_sqrtf(variance[c + i] + epsilon); });
      for (int64_t r = 0; r < rows; ++r) {
        Each(width, [=](int64_t i) {
          const float g = Load(d + r * stride, i);
          s[i] += g;
          q[i] += g * (Load(p + r * stride, i) - mean[c + i]) * k[i];
        });
      }
      for (int64_t r = 0; r < rows; ++r) {
        Each(width, [=](int64_t i) {
          const float xhat = (Load(p + r * stride, i) - mean[c + i]) * k[i];
          const float centred = Load(d + r * stride, i) - (s[i] + xhat * q[i]) * inverse;
          Store(out + r * stride, i, gamma[c + i] * k[i] * centred);
        });
      }
      Each(width, [=](int64_t i) {
        dgamma[c + i] += q[i];
        dbeta[c + i] += s[i];
      });
    });
  });
}

}  // namespace

void AddBatchNorm(Kernels* k) {
  k->norm_statistics = Statistics;
  k->norm_apply = Apply;
  k->norm_backward = Backward;
}

}  // namespace mariana::MARIANA_ISA
