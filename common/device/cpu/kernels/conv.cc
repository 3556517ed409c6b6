// The inner loop of our own convolution passes, a tile of outputs in registers (as in gemm.cc).
#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

constexpr int kWidth = MARIANA_WIDTH;

typedef float Vector __attribute__((vector_size(4 * kWidth)));
typedef float Unaligned __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

[[gnu::always_inline]] inline Vector LoadVector(const float* p) {
  return *reinterpret_cast<const Unaligned*>(p);
}
[[gnu::always_inline]] inline void StoreVector(float* p, Vector v) {
  *reinterpret_cast<Unaligned*>(p) = v;
}

// kRows x (kVectors vectors) of c, from column `part` on.
template <int kRows, int kVectors>
void Part(const ConvTile& t, int64_t part) {
  Vector sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = t.add ? LoadVector(t.c + i * t.c_stride + part + v * kWidth) : Vector{};
    }
  }
  for (int64_t n = 0; n < t.n[0]; ++n) {
    for (int64_t r = 0; r < t.n[1]; ++r) {
      const float* a = t.a + n * t.a_step[0] + r * t.a_step[1];
      const float* b = t.b + n * t.b_step[0] + r * t.b_step[1] + part;
      for (int64_t s = 0; s < t.n[2]; ++s) {
        Vector row[kVectors];
        for (int v = 0; v < kVectors; ++v) row[v] = LoadVector(b + v * kWidth);
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          const Vector x = a[i] - Vector{};
          for (int v = 0; v < kVectors; ++v) sum[i][v] += x * row[v];
        }
        a += t.a_step[2];
        b += t.b_step[2];
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      StoreVector(t.c + i * t.c_stride + part + v * kWidth, sum[i][v]);
    }
  }
}

template <int kRows>
void Rows(const ConvTile& t) {
  if (t.rows == kRows) {
    // Two vectors at a time where registers allow, one for what is left.
    constexpr bool pairs = 2 * (kRows + 1) + 1 <= MARIANA_REGISTERS;
    int64_t part = 0;
    if constexpr (pairs) {
      for (; part + 2 * kWidth <= t.width; part += 2 * kWidth) Part<kRows, 2>(t, part);
    }
    for (; part < t.width; part += kWidth) Part<kRows, 1>(t, part);
  } else if constexpr (kRows > 1) {
    Rows<kRows - 1>(t);
  }
}

void Run(const ConvTile& t) { Rows<MARIANA_CONV_ROWS>(t); }

}  // namespace

void AddConv(Kernels* k) {
  k->conv_rows = MARIANA_TILE_ROWS;
  k->conv_rows_narrow = MARIANA_CONV_ROWS;
  k->conv_tile = Run;
}

}  // namespace mariana::MARIANA_ISA
