// The innermost loops of the fp32 products: a tile of kTileRows x kPanel outputs stays in registers
// while the sum runs (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication",
// 2008). Each step loads one panel row of b and broadcasts one element of a a row.
#include "common/device/cpu/kernels/vectors.h"

namespace mariana::MARIANA_ISA {
namespace {

// From BUILD: as many rows as leave registers for two rows of b and one element of a. With AVX-512
// 28 of 32 registers hold the tile; with AVX2 12 of 16, half a panel at a time.
constexpr int kTileRows = MARIANA_TILE_ROWS;
constexpr int kVectors = 2;               // of a tile row
constexpr int kPart = kVectors * kWidth;  // columns of b at a time
constexpr int64_t kStepsPerPrefetch = 8;

// sum += a column of a times a row of b.
template <int kRows, int kRowStep>
[[gnu::always_inline]] inline void Step(const float* a, const float* b, Vector (*sum)[kVectors]) {
  Vector row[kVectors];
  for (int v = 0; v < kVectors; ++v) row[v] = LoadVector(b + v * kWidth);
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
    const Vector x = a[i * kRowStep] - Vector{};
    for (int v = 0; v < kVectors; ++v) sum[i][v] += x * row[v];
  }
}

// Rows i of a are kRowStep elements apart, steps kStep apart, blocks of kPanel steps a_block.
template <int kRows, int kRowStep, int kStep>
void Tile(const TileArgs& t) {
  // The tile is on its way while the sum runs: it is long out of the caches when it is a gradient.
  for (int i = 0; i < kRows * kPanel; i += 16) __builtin_prefetch(t.c + i, 1, 3);
  for (int part = 0; part < kPanel; part += kPart) {
    Vector sum[kRows][kVectors];
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = t.add ? LoadVector(t.c + i * kPanel + part + v * kWidth) : Vector{};
      }
    }
    const float* b = t.b + part;
    for (int64_t block = 0; block * kPanel < t.k; ++block) {
      const float* a = t.a + block * t.a_block;
      const float* next = t.next + block * t.next_block;
      const int64_t left = t.k - block * kPanel;
      const int64_t steps = left < kPanel ? left : kPanel;
      int64_t s = 0;
      for (; s + 1 < steps; s += 2) {  // by two: 10% faster than by one or four
        if (s % kStepsPerPrefetch == 0) __builtin_prefetch(next + s / kStepsPerPrefetch * 16, 0, 2);
        Step<kRows, kRowStep>(a, b, sum);
        Step<kRows, kRowStep>(a + kStep, b + kPanel, sum);
        a += 2 * kStep;
        b += 2 * kPanel;
      }
      if (s < steps) {
        Step<kRows, kRowStep>(a, b, sum);
        b += kPanel;
      }
    }
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < kVectors; ++v) {
        StoreVector(t.c + i * kPanel + part + v * kWidth, sum[i][v]);
      }
    }
  }
}

template <int kRows>
void TileOf(const TileArgs& t) {
  if (t.rows == kRows) {
    if (t.a_is_panel) {
      Tile<kRows, kPanel, 1>(t);
    } else {
      Tile<kRows, 1, kRows>(t);
    }
  } else if constexpr (kRows > 1) {
    TileOf<kRows - 1>(t);
  }
}

void RunTile(const TileArgs& t) { TileOf<kTileRows>(t); }

// At most kWidth rows and columns.
void TransposeEdge(const float* src, int64_t src_stride, int64_t rows, int64_t cols, float* dst,
                   int64_t dst_stride) {
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < rows; ++i) dst[j * dst_stride + i] = src[i * src_stride + j];
  }
}

void Transpose(const float* src, int64_t src_stride, int64_t rows, int64_t cols, float* dst,
               int64_t dst_stride) {
  for (int64_t i = 0; i < rows; i += kWidth) {
    const int64_t height = rows - i < kWidth ? rows - i : kWidth;
    for (int64_t j = 0; j < cols; j += kWidth) {
      const int64_t width = cols - j < kWidth ? cols - j : kWidth;
      const float* from = src + i * src_stride + j;
      float* to = dst + j * dst_stride + i;
      // A tile of rows is narrower than a vector: what is too much of one store is overwritten
      // by the next, but for the last columns.
      const bool narrow = height < kWidth && height == dst_stride && cols - j > kWidth;
      if (width < kWidth || (height < kWidth && !narrow)) {
        TransposeEdge(from, src_stride, height, width, to, dst_stride);
        continue;
      }
      Vector v[kWidth];
#pragma GCC unroll 16
      for (int r = 0; r < kWidth; ++r) {
        v[r] = r < height ? LoadVector(from + r * src_stride) : Vector{};
      }
      TransposeSteps<kWidth / 2>(v);
#pragma GCC unroll 16
      for (int c = 0; c < kWidth; ++c) StoreVector(to + c * dst_stride, v[c]);
    }
  }
}

// Rows [begin, end) of columns [c, c + width) of a tile. A whole vector is copied where one fits:
// what is too much is overwritten by the next row, so not for the last.
template <bool whole>
[[gnu::always_inline]] inline void GatherRows(const float* src, int64_t src_stride, int64_t begin,
                                              int64_t end, int64_t width, float* dst) {
  for (int64_t r = begin; r < end; ++r) {
    if (whole) {
      StoreVector(dst + r * width, LoadVector(src + r * src_stride));
    } else {
      for (int64_t i = 0; i < width; ++i) dst[r * width + i] = src[r * src_stride + i];
    }
  }
}

void GatherTiles(const float* src, int64_t src_stride, int64_t rows, int64_t cols, float* dst) {
  constexpr int64_t kBlock = 8;  // rows at a time: the lines that are read and written stay near
  static_assert(kTileRows <= kWidth, "a tile row is at most a vector");
  for (int64_t r = 0; r < rows; r += kBlock) {
    const int64_t end = rows - r < kBlock ? rows - r : kBlock;
    for (int64_t c = 0; c < cols; c += kTileRows) {
      const int64_t width = cols - c < kTileRows ? cols - c : kTileRows;
      const int64_t whole = cols - c < kWidth ? 0 : r + end < rows ? end : end - 1;
      const float* from = src + r * src_stride + c;
      float* to = dst + c * rows + r * width;
      GatherRows<true>(from, src_stride, 0, whole, kTileRows, to);
      GatherRows<false>(from, src_stride, whole, end, width, to);
    }
  }
}

}  // namespace

void AddGemm(Kernels* k) {
  k->tile_rows = kTileRows;
  k->tile = RunTile;
  k->transpose = Transpose;
  k->gather_tiles = GatherTiles;
}

}  // namespace mariana::MARIANA_ISA
