// Vectors of the instruction set that a kernel is compiled for, and their transpose in registers.
// Included by kernels/*.cc alone, each compiled once per instruction set.
#pragma once

#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {

constexpr int kWidth = MARIANA_WIDTH;  // floats in a vector, from BUILD

typedef float Vector __attribute__((vector_size(4 * kWidth)));
typedef float Unaligned __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

[[gnu::always_inline]] inline Vector LoadVector(const float* p) {
  return *reinterpret_cast<const Unaligned*>(p);
}
typedef uint16_t Halves __attribute__((vector_size(2 * kWidth), aligned(2), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * kWidth)));

// bf16
[[gnu::always_inline]] inline Vector LoadVector(const uint16_t* p) {
  const Bits bits = __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Bits) << 16;
  return reinterpret_cast<Vector>(bits);
}
[[gnu::always_inline]] inline void StoreVector(float* p, Vector v) {
  *reinterpret_cast<Unaligned*>(p) = v;
}

// Interleaves: element j of lo and hi at distance `d` change places, for a transpose in log2 steps.
template <int d, int... lane>
[[gnu::always_inline]] inline void Exchange(Vector* lo, Vector* hi,
                                            std::integer_sequence<int, lane...>) {
  const Vector x = *lo, y = *hi;
  *lo = __builtin_shufflevector(x, y, ((lane & d) ? kWidth + lane - d : lane)...);
  *hi = __builtin_shufflevector(x, y, ((lane & d) ? kWidth + lane : lane + d)...);
}

// v, kWidth vectors, becomes its transpose: TransposeSteps<kWidth / 2>(v).
template <int d>
[[gnu::always_inline]] inline void TransposeSteps(Vector* v) {
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if ((i & d) == 0) {
      Exchange<d>(&v[i], &v[i + d], std::make_integer_sequence<int, kWidth>());
    }
  }
  if constexpr (d > 1) TransposeSteps<d / 2>(v);
}

}  // namespace mariana::MARIANA_ISA
