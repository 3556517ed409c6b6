// Batch normalisation (Ioffe and Szegedy 2015) of one block of rows, each with its own parameters
// per value of a row. What spans blocks is in cpu/batch_norm.cc.
#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// f(width) with the usual width a constant, so that its loops have no remainder.
template <class F>
[[gnu::always_inline]] inline void WithWidth(int64_t width, const F& f) {
  if (width == kNormLanes) {
    f(std::integral_constant<int64_t, kNormLanes>());
  } else {
    f(width);
  }
}

void Sums(const NormBlock& b, const void* x, const float* shift, float* sum, float* square,
          Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    WithWidth(b.width, [=](auto width) {
      Each(width, [=](int64_t i) { sum[i] = square[i] = 0; });
      for (int64_t r = 0; r < b.rows; ++r) {
        const T* p = static_cast<const T*>(x) + r * b.stride;
        Each(width, [=](int64_t i) {
          const float d = Load(p, i) - shift[i];
          sum[i] += d;
          square[i] += d * d;
        });
      }
    });
  });
}

template <bool has_residual, bool relu, class T, class Width>
[[gnu::always_inline]] inline void ApplyRows(const NormBlock& b, Width width, const T* x,
                                             const T* residual, const float* mean,
                                             const float* slope, const float* beta, T* y) {
  for (int64_t r = 0; r < b.rows; ++r) {
    const T *p = x + r * b.stride, *q = has_residual ? residual + r * b.stride : nullptr;
    T* to = y + r * b.stride;
    Each(width, [=](int64_t i) {
      float v = (Load(p, i) - mean[i]) * slope[i] + beta[i];
      if (has_residual) v += Load(q, i);
      if (relu) v = formulas::Apply<Activation::kRelu>(v);
      Store(to, i, v);
    });
  }
}

// f(has_residual, relu), both constants.
template <class F>
[[gnu::always_inline]] inline void WithFlags(bool first, bool second, const F& f) {
  if (first) {
    second ? f(std::true_type(), std::true_type()) : f(std::true_type(), std::false_type());
  } else {
    second ? f(std::false_type(), std::true_type()) : f(std::false_type(), std::false_type());
  }
}

void Apply(const NormBlock& b, const void* x, const void* residual, const float* mean,
           const float* slope, const float* beta, bool relu, void* y, Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    WithFlags(residual != nullptr, relu, [=](auto has_residual, auto has_relu) {
      WithWidth(b.width, [=](auto width) {
        ApplyRows<decltype(has_residual)::value, decltype(has_relu)::value>(
            b, width, static_cast<const T*>(x), static_cast<const T*>(residual), mean, slope, beta,
            static_cast<T*>(y));
      });
    });
  });
}

void BackwardSums(const NormBlock& b, const void* x, const void* y, const void* dy,
                  const float* mean, void* copy, float* sum, float* product, Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    WithFlags(y != nullptr, copy != nullptr, [=](auto relu, auto copies) {
      WithWidth(b.width, [=](auto width) {
        Each(width, [=](int64_t i) { sum[i] = product[i] = 0; });
        for (int64_t r = 0; r < b.rows; ++r) {
          const int64_t at = r * b.stride;
          const T *p = static_cast<const T*>(x) + at, *d = static_cast<const T*>(dy) + at;
          const T* out = relu ? static_cast<const T*>(y) + at : nullptr;
          T* to = copies ? static_cast<T*>(copy) + at : nullptr;
          Each(width, [=](int64_t i) {
            float g = Load(d, i);
            if (relu) g = Load(out, i) > 0.0f ? g : 0.0f;
            if (copies) Store(to, i, g);
            sum[i] += g;
            product[i] += g * (Load(p, i) - mean[i]);
          });
        }
      });
    });
  });
}

void Backward(const NormBlock& b, const void* x, const void* y, const void* dy, const float* mean,
              const float* slope, const float* shift, const float* tilt, void* dx, Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    WithFlags(y != nullptr, true, [=](auto relu, auto) {
      WithWidth(b.width, [=](auto width) {
        for (int64_t r = 0; r < b.rows; ++r) {
          const int64_t at = r * b.stride;
          const T *p = static_cast<const T*>(x) + at, *d = static_cast<const T*>(dy) + at;
          const T* out = relu ? static_cast<const T*>(y) + at : nullptr;
          T* to = static_cast<T*>(dx) + at;
          Each(width, [=](int64_t i) {
            float g = Load(d, i);
            if (relu) g = Load(out, i) > 0.0f ? g : 0.0f;
            Store(to, i, slope[i] * (g - shift[i] - (Load(p, i) - mean[i]) * tilt[i]));
          });
        }
      });
    });
  });
}

}  // namespace

void AddBatchNorm(Kernels* k) {
  k->norm_sums = Sums;
  k->norm_apply = Apply;
  k->norm_backward_sums = BackwardSums;
  k->norm_backward = Backward;
}

}  // namespace mariana::MARIANA_ISA
