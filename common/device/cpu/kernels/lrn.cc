// Local response normalisation of rows of channels. Each row is put between zeros, so that the sum
// over neighbours needs no bounds.
#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// sum[i] = values[i - before] + ... + values[i + after].
void WindowSums(const float* values, int64_t before, int64_t after, int64_t n, float* sum) {
  Each(n, [=](int64_t i) { sum[i] = values[i - before]; });
  for (int64_t k = 1 - before; k <= after; ++k)
    Each(n, [=](int64_t i) { sum[i] += values[i + k]; });
}

float Power(float base, float exponent) { return formulas::Exp(exponent * formulas::Log(base)); }

// One row's working memory: squares (or products) between `size` zeros on either side, then
// `channels` sums.
struct Row {
  Row(const LrnSpec& spec, int64_t channels, float* scratch)
      : before(spec.size / 2),
        after((spec.size - 1) / 2),
        values(scratch + spec.size),
        sum(values + channels + spec.size) {
    for (int64_t i = 0; i < spec.size; ++i) scratch[i] = values[channels + i] = 0;
  }
  int64_t before, after;
  float *values, *sum;
};

void Forward(const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t n, float* scratch,
             Dtype t) {
  const Row row(spec, n, scratch);
  const float scale = spec.alpha / static_cast<float>(spec.size), k = spec.k, beta = spec.beta;
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    float *values = row.values, *sum = row.sum;
    for (int64_t r = 0; r < pixels; ++r) {
      const T* p = static_cast<const T*>(x) + r * n;
      T* q = static_cast<T*>(y) + r * n;
      Each(n, [=](int64_t i) { values[i] = Load(p, i) * Load(p, i); });
      WindowSums(values, row.before, row.after, n, sum);
      Each(n, [=](int64_t i) { Store(q, i, Load(p, i) * Power(k + scale * sum[i], -beta)); });
    }
  });
}

// With s_i the scale: dx_i = dy_i s_i^-beta - 2 alpha beta / size x_i sum of dy_j x_j s_j^(-beta-1)
// over the j whose windows hold i.
void Backward(const LrnSpec& spec, const void* x, const void* dy, void* dx, int64_t pixels,
              int64_t n, float* scratch, Dtype t) {
  const Row row(spec, n, scratch);
  const float scale = spec.alpha / static_cast<float>(spec.size), k = spec.k, beta = spec.beta;
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    float *values = row.values, *sum = row.sum, *power = sum + n;
    for (int64_t r = 0; r < pixels; ++r) {
      const T *p = static_cast<const T*>(x) + r * n, *d = static_cast<const T*>(dy) + r * n;
      T* q = static_cast<T*>(dx) + r * n;
      Each(n, [=](int64_t i) { values[i] = Load(p, i) * Load(p, i); });
      WindowSums(values, row.before, row.after, n, sum);
      Each(n, [=](int64_t i) {
        const float s = k + scale * sum[i];
        power[i] = Power(s, -beta);
        values[i] = Load(d, i) * Load(p, i) * power[i] / s;
      });
      WindowSums(values, row.after, row.before, n, sum);
      Each(n, [=](int64_t i) {
        Store(q, i, Load(d, i) * power[i] - 2 * scale * beta * Load(p, i) * sum[i]);
      });
    }
  });
}

}  // namespace

void AddLrn(Kernels* k) {
  k->lrn = Forward;
  k->lrn_backward = Backward;
}

}  // namespace mariana::MARIANA_ISA
