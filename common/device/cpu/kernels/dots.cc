// Dot products of all pairs of a row's vectors, and their gradients: kWidth rows at a time, one in
// each lane, turned so that a lane's values are a vector apart; then a block of products stays in
// registers while the sum over the vectors' elements runs (as in gemm.cc).
#include "common/device/cpu/kernels/vectors.h"

namespace mariana::MARIANA_ISA {
namespace {

// Of the accumulators: 16 or 8, and a row and a column of operands beside them.
constexpr int kDown = MARIANA_REGISTERS == 32 ? 4 : 2, kAcross = 4;

int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// Where the product of vectors i < j stands: Before(i, vectors) + j.
[[gnu::always_inline]] inline int64_t Before(int64_t i, int64_t vectors) {
  return i * (2 * vectors - i - 1) / 2 - i - 1;
}

const float* Widen(const float* x, int64_t, float*) { return x; }
const float* Widen(const uint16_t* x, int64_t n, float* wide) {
  Each(n, [=](int64_t i) { wide[i] = Load(x, i); });
  return wide;
}
float* Wide(float* y, float*) { return y; }
float* Wide(uint16_t*, float* wide) { return wide; }
void Narrow(const float*, int64_t, float*) {}
void Narrow(const float* wide, int64_t n, uint16_t* y) {
  Each(n, [=](int64_t i) { Store(y, i, wide[i]); });
}

// x [rows, cols] as turned [cols, kWidth], and back; at most kWidth rows, zeros in other lanes.
void TurnIn(const float* x, int64_t rows, int64_t cols, float* turned) {
  if (cols < kWidth) {
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < kWidth; ++r) turned[c * kWidth + r] = r < rows ? x[r * cols + c] : 0;
    }
    return;
  }
  for (int64_t block = 0; block < cols; block += kWidth) {
    const int64_t c = Least(block, cols - kWidth);  // the last block overlaps the one before
    Vector v[kWidth];
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) v[r] = r < rows ? LoadVector(x + r * cols + c) : Vector{};
    TransposeSteps<kWidth / 2>(v);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) StoreVector(turned + (c + i) * kWidth, v[i]);
  }
}
void TurnOut(const float* turned, int64_t rows, int64_t cols, float* y) {
  if (cols < kWidth) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = turned[c * kWidth + r];
    }
    return;
  }
  for (int64_t block = 0; block < cols; block += kWidth) {
    const int64_t c = Least(block, cols - kWidth);
    Vector v[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) v[i] = LoadVector(turned + (c + i) * kWidth);
    TransposeSteps<kWidth / 2>(v);
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
      if (r < rows) StoreVector(y + r * cols + c, v[r]);
    }
  }
}

// Products of vectors i.. with vectors j..; what is no pair is computed in vain.
[[gnu::always_inline]] inline void PairTile(const DotsShape& s, const float* x, int64_t i,
                                            int64_t j, float* y) {
  const float *a[kDown], *b[kAcross];
  for (int p = 0; p < kDown; ++p) a[p] = x + Least(i + p, s.vectors - 1) * s.size * kWidth;
  for (int q = 0; q < kAcross; ++q) b[q] = x + Least(j + q, s.vectors - 1) * s.size * kWidth;
  Vector sum[kDown][kAcross] = {};
  for (int64_t k = 0; k < s.size * kWidth; k += kWidth) {
    Vector row[kAcross];
#pragma GCC unroll 4
    for (int q = 0; q < kAcross; ++q) row[q] = LoadVector(b[q] + k);
#pragma GCC unroll 4
    for (int p = 0; p < kDown; ++p) {
      const Vector v = LoadVector(a[p] + k);
#pragma GCC unroll 4
      for (int q = 0; q < kAcross; ++q) sum[p][q] += v * row[q];
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kDown; ++p) {
    float* to = y + (Before(i + p, s.vectors) + j) * kWidth;
#pragma GCC unroll 4
    for (int q = 0; q < kAcross; ++q) {
      if (i + p < j + q && j + q < s.vectors) StoreVector(to + q * kWidth, sum[p][q]);
    }
  }
}

// The gradient of elements k.. of vectors i..: the sum over all other vectors, each times the
// gradient of its product with i.
[[gnu::always_inline]] inline void GradientTile(const DotsShape& s, const float* x, const float* dy,
                                                int64_t i, int64_t k, float* dx) {
  const int64_t last = s.vectors - 1;
  alignas(64) const float zero[kWidth] = {};
  int64_t element[kAcross];
  for (int q = 0; q < kAcross; ++q) element[q] = Least(k + q, s.size - 1) * kWidth;
  Vector sum[kDown][kAcross] = {};
  // g(p): the gradient of the product of i + p and j, zero where they are the same.
  const auto add = [&](int64_t j, const auto& g) {
    const float* v = x + j * s.size * kWidth;
    Vector row[kAcross];
#pragma GCC unroll 4
    for (int q = 0; q < kAcross; ++q) row[q] = LoadVector(v + element[q]);
#pragma GCC unroll 4
    for (int p = 0; p < kDown; ++p) {
      const Vector d = LoadVector(g(p));
#pragma GCC unroll 4
      for (int q = 0; q < kAcross; ++q) sum[p][q] += d * row[q];
    }
  };
  const int64_t end = Least(i + kDown, s.vectors);
  int64_t of_row[kDown], number[kDown];
  for (int p = 0; p < kDown; ++p) {
    number[p] = Least(i + p, last);
    of_row[p] = Before(number[p], s.vectors);
  }
  for (int64_t j = 0; j < i; ++j) {
    const int64_t column = Before(j, s.vectors);
    add(j, [&](int p) { return dy + (column + number[p]) * kWidth; });
  }
  for (int64_t j = i; j < end; ++j) {
    add(j, [&](int p) {
      if (number[p] == j) return zero;
      return dy + (number[p] < j ? of_row[p] + j : Before(j, s.vectors) + number[p]) * kWidth;
    });
  }
  for (int64_t j = end; j < s.vectors; ++j) {
    add(j, [&](int p) { return dy + (of_row[p] + j) * kWidth; });
  }
  for (int p = 0; p < kDown && i + p <= last; ++p) {
    for (int q = 0; q < kAcross && k + q < s.size; ++q) {
      StoreVector(dx + ((i + p) * s.size + k + q) * kWidth, sum[p][q]);
    }
  }
}

// block(first row, rows) over at most kWidth rows each.
template <class F>
void Rows(int64_t rows, const F& block) {
  for (int64_t r = 0; r < rows; r += kWidth) block(r, Least(kWidth, rows - r));
}

void Dots(const DotsShape& s, const void* x, void* y, int64_t rows, float* scratch, Dtype t) {
  const int64_t in = s.vectors * s.size, out = s.products();
  float* turned = scratch;
  float* products = turned + in * kWidth;
  float* wide = products + out * kWidth;
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Rows(rows, [=](int64_t r, int64_t n) {
      TurnIn(Widen(static_cast<const T*>(x) + r * in, n * in, wide), n, in, turned);
      for (int64_t i = 0; i + 1 < s.vectors; i += kDown) {
        for (int64_t j = i + 1; j < s.vectors; j += kAcross) PairTile(s, turned, i, j, products);
      }
      T* to = static_cast<T*>(y) + r * out;
      TurnOut(products, n, out, Wide(to, wide));
      Narrow(wide, n * out, to);
    });
  });
}

void DotsBackward(const DotsShape& s, const void* x, const void* dy, void* dx, int64_t rows,
                  float* scratch, Dtype t) {
  const int64_t in = s.vectors * s.size, out = s.products();
  float* turned = scratch;
  float* slopes = turned + in * kWidth;
  float* gradient = slopes + out * kWidth;
  float* wide = gradient + in * kWidth;
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Rows(rows, [=](int64_t r, int64_t n) {
      TurnIn(Widen(static_cast<const T*>(x) + r * in, n * in, wide), n, in, turned);
      TurnIn(Widen(static_cast<const T*>(dy) + r * out, n * out, wide), n, out, slopes);
      for (int64_t i = 0; i < s.vectors; i += kDown) {
        for (int64_t k = 0; k < s.size; k += kAcross) {
          GradientTile(s, turned, slopes, i, k, gradient);
        }
      }
      T* to = static_cast<T*>(dx) + r * in;
      TurnOut(gradient, n, in, Wide(to, wide));
      Narrow(wide, n * in, to);
    });
  });
}

}  // namespace

void AddDots(Kernels* k) {
  k->dots = Dots;
  k->dots_backward = DotsBackward;
}

}  // namespace mariana::MARIANA_ISA
