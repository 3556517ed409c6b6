// Field-aware factorisation machine (Juan et al., "Field-aware factorization machines for CTR
// prediction", RecSys 2016): pairs of a row's groups.
#include "mariana_cluster/model/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

template <class S>
float Ffm(const FactorGroup* groups, int64_t n, int64_t all) {
  const int64_t size = S::Of(all);
  float total[S::kRoom];
  Each(size, [&](int64_t j) { total[j] = 0; });
  for (int64_t a = 0; a < n; ++a) {
    const FactorGroup& first = groups[a];
    const int64_t at = first.field * size;
    float even[S::kRoom], odd[S::kRoom];  // two chains of additions instead of one
    Each(size, [&](int64_t j) { even[j] = odd[j] = 0; });
    const auto add = [&](const FactorGroup& second, float* sum) {
      const float* v = first.v + second.field * size;
      const float* w = second.v + at;
      const float x = second.x;
      Each(size, [&](int64_t j) { sum[j] += x * v[j] * w[j]; });
    };
    int64_t b = a + 1;
    for (; b + 2 <= n; b += 2) {
      add(groups[b], even);
      add(groups[b + 1], odd);
    }
    if (b < n) add(groups[b], even);
    const float x = first.x;
    Each(size, [&](int64_t j) { total[j] += x * (even[j] + odd[j]); });
  }
  return Sum(size, [&](int64_t j) { return total[j]; });
}

template <class S>
void FfmBackward(const FactorGroup* groups, int64_t n, int64_t all, float g) {
  const int64_t size = S::Of(all);
  for (int64_t a = 0; a < n; ++a) {
    const FactorGroup& first = groups[a];
    const float gx = g * first.x;
    const int64_t at = first.field * size;
    for (int64_t b = a + 1; b < n; ++b) {
      const FactorGroup& second = groups[b];
      const float gxx = gx * second.x;
      const int64_t to = second.field * size;
      const float* v = first.v + to;
      const float* w = second.v + at;
      float* dv = first.dv + to;
      float* dw = second.dv + at;
      // Two features may be the same one: their gradients are added one after the other.
      Each(size, [&](int64_t j) { dv[j] += gxx * w[j]; });
      Each(size, [&](int64_t j) { dw[j] += gxx * v[j]; });
    }
  }
}

}  // namespace

void AddFactors(ClickKernels* k) {
  k->ffm = [](const FactorGroup* groups, int64_t n, int64_t size) {
    float sum = 0;
    WithSize(size, [&](auto tag) { sum = Ffm<decltype(tag)>(groups, n, size); });
    return sum;
  };
  k->ffm_backward = [](const FactorGroup* groups, int64_t n, int64_t size, float g) {
    WithSize(size, [&](auto tag) { FfmBackward<decltype(tag)>(groups, n, size, g); });
  };
}

}  // namespace mariana::MARIANA_ISA
