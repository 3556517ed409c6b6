// What the kernels share: loops over the floats of one vector, its length a constant where it is a
// common one. Included by kernels/*.cc alone, each compiled once per instruction set.
#pragma once

#include <cstdint>

#include "mariana_cluster/model/click_kernels.h"

namespace mariana::MARIANA_ISA {

template <int kSize>  // 0: as it comes
struct Size {
  static constexpr int64_t kRoom = kSize > 0 ? kSize : kMostFloats;
  [[gnu::always_inline]] static int64_t Of(int64_t size) { return kSize > 0 ? kSize : size; }
};

// f(Size<n>()).
template <class F>
[[gnu::always_inline]] inline void WithSize(int64_t size, const F& f) {
  switch (size) {
    case 4: return f(Size<4>());
    case 8: return f(Size<8>());
    case 16: return f(Size<16>());
    case 32: return f(Size<32>());
    default: return f(Size<0>());
  }
}

// f(j) for j in [0, n): no call depends on another. unroll 1: gcc would unroll loops of a small
// constant length before it could vectorise them.
template <class F>
[[gnu::always_inline]] inline void Each(int64_t n, const F& f) {
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int64_t j = 0; j < n; ++j) f(j);
}

// Partial sums: element j into lane j % kLanes, so that their order is the same for every vector
// width.
constexpr int64_t kLanes = 16;

// The sum of f(j) over [0, n).
template <class F>
[[gnu::always_inline]] inline float Sum(int64_t n, const F& f) {
  if (n <= 8) {  // a constant: nothing but one vector
    float lane[8] = {};
    Each(n, [&](int64_t j) { lane[j] = f(j); });
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  }
  float lane[kLanes] = {};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    Each(kLanes, [&](int64_t j) { lane[j] += f(i + j); });
  }
  Each(n - whole, [&](int64_t j) { lane[j] += f(whole + j); });
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    Each(half, [&](int64_t j) { lane[j] += lane[j + half]; });
  }
  return lane[0];
}

// The pieces of the table, one a file.
void AddTerms(ClickKernels* k);
void AddPooling(ClickKernels* k);
void AddFactors(ClickKernels* k);
void AddLosses(ClickKernels* k);

}  // namespace mariana::MARIANA_ISA
