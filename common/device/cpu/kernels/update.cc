#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// w[i] = f(i), and its bf16 shadow.
template <class F>
[[gnu::always_inline]] inline void UpdateEach(int64_t n, float* w, uint16_t* w16, const F& f) {
  if (w16 == nullptr) {
    Each(n, [=](int64_t i) { w[i] = f(i); });
  } else {
    Each(n, [=](int64_t i) {
      const float x = f(i);
      w[i] = x;
      w16[i] = formulas::ToBf16(x);
    });
  }
}

void UpdateSgd(const OptimizerStep& s, const float* g, float* w, uint16_t* w16, float* m,
               int64_t n) {
  if (s.momentum == 0.0f) {
    UpdateEach(n, w, w16, [=](int64_t i) { return formulas::Sgd(s, g[i], w[i]); });
  } else if (s.nesterov) {
    UpdateEach(n, w, w16,
               [=](int64_t i) { return formulas::SgdMomentum<true>(s, g[i], w[i], m + i); });
  } else {
    UpdateEach(n, w, w16,
               [=](int64_t i) { return formulas::SgdMomentum<false>(s, g[i], w[i], m + i); });
  }
}

void Update(const OptimizerStep& step, const float* g, float* w, uint16_t* w16, float* slot0,
            float* slot1, int64_t n) {
  const OptimizerStep s = step;
  switch (s.kind) {
    case OptimizerKind::kSgd: return UpdateSgd(s, g, w, w16, slot0, n);
    case OptimizerKind::kAdaGrad:
      return UpdateEach(n, w, w16,
                        [=](int64_t i) { return formulas::AdaGrad(s, g[i], w[i], slot0 + i); });
    case OptimizerKind::kAdam: {
      const formulas::AdamScalars a = formulas::MakeAdamScalars(s);
      return UpdateEach(n, w, w16, [=](int64_t i) {
        return formulas::Adam(s, a, g[i], w[i], slot0 + i, slot1 + i);
      });
    }
  }
}

double SumOfSquares(const float* x, int64_t n) {
  constexpr int kWidth = 32;
  double lane[kWidth] = {};
  const int64_t whole = n - n % kWidth;
  for (int64_t i = 0; i < whole; i += kWidth) {
#pragma GCC ivdep
    for (int j = 0; j < kWidth; ++j) {
      const double v = x[i + j];
      lane[j] += v * v;
    }
  }
  for (int64_t i = whole; i < n; ++i) lane[i - whole] += static_cast<double>(x[i]) * x[i];
  double sum = 0;
  for (int j = 0; j < kWidth; ++j) sum += lane[j];
  return sum;
}

}  // namespace

void AddUpdate(Kernels* k) {
  k->update = Update;
  k->sum_of_squares = SumOfSquares;
}

}  // namespace mariana::MARIANA_ISA
