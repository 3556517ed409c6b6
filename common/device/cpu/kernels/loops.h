// What the kernels share: loops that the compiler may vectorise, and elements of either float
// type. Included by kernels/*.cc alone, each compiled once per instruction set.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "common/device/cpu/kernels.h"
#include "common/device/formulas.h"

namespace mariana::MARIANA_ISA {

// Lanes of the reductions: sums go into kLanes partial sums, element i into lane i % kLanes, so
// that their order is the same for every vector width.
constexpr int kLanes = 64;

[[gnu::always_inline]] inline float Load(const float* p, int64_t i) { return p[i]; }
[[gnu::always_inline]] inline float Load(const uint16_t* p, int64_t i) {
  return formulas::FromBf16(p[i]);
}
[[gnu::always_inline]] inline void Store(float* p, int64_t i, float x) { p[i] = x; }
[[gnu::always_inline]] inline void Store(uint16_t* p, int64_t i, float x) {
  p[i] = formulas::ToBf16(x);
}

// f(i) for i in [0, n): no call depends on another, though arguments may be the same array.
template <class F>
[[gnu::always_inline]] inline void Each(int64_t n, const F& f) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) f(i);
}

// f(T*) with T the element type that a dtype stands for; the value is a null pointer.
template <class F>
[[gnu::always_inline]] inline void WithType(Dtype t, const F& f) {
  if (t == Dtype::kBF16) {
    f(static_cast<uint16_t*>(nullptr));
  } else {
    f(static_cast<float*>(nullptr));
  }
}

template <Activation a>
struct ActivationTag {
  static constexpr Activation kValue = a;
};

// f(ActivationTag<a>()).
template <class F>
[[gnu::always_inline]] inline void WithActivation(Activation a, const F& f) {
  switch (a) {
    case Activation::kNone: return f(ActivationTag<Activation::kNone>());
    case Activation::kSigmoid: return f(ActivationTag<Activation::kSigmoid>());
    case Activation::kTanh: return f(ActivationTag<Activation::kTanh>());
    case Activation::kRelu: return f(ActivationTag<Activation::kRelu>());
  }
}

// The pieces of the table, one a file.
void AddElementwise(Kernels* k);
void AddLinear(Kernels* k);
void AddBatchNorm(Kernels* k);
void AddGemm(Kernels* k);
void AddNarrow(Kernels* k);
void AddDots(Kernels* k);
void AddLosses(Kernels* k);
void AddUpdate(Kernels* k);
void AddPooling(Kernels* k);
void AddLrn(Kernels* k);
void AddConv(Kernels* k);

}  // namespace mariana::MARIANA_ISA
