// The inner loop of our own convolution passes, a tile of outputs in registers (as in gemm.cc).
#include "common/device/cpu/kernels/vectors.h"

namespace mariana::MARIANA_ISA {
namespace {

// kRows x (kVectors vectors) of c, from column `part` on; in registers.
template <int kRows, int kVectors>
struct Sums {
  Vector v[kRows][kVectors];

  // Of row i, vector j.
  static float* At(const ConvTile& t, int64_t part, int i, int j) {
    const int64_t column = part + j * kWidth;
    return t.c + i * t.c_stride + column / 16 * t.c_group + column % 16;
  }
  [[gnu::always_inline]] inline Sums(const ConvTile& t, int64_t part) {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) {
        v[i][j] = t.add ? LoadVector(At(t, part, i, j)) : Vector{};
      }
    }
  }
  [[gnu::always_inline]] inline void Store(const ConvTile& t, int64_t part) const {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) {
        StoreVector(At(t, part, i, j), v[i][j]);
      }
    }
  }
  // += element(i) times the row at b.
  template <class F>
  [[gnu::always_inline]] inline void Step(const float* b, const F& element) {
    Vector row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = LoadVector(b + j * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vector x = element(i) - Vector{};
      for (int j = 0; j < kVectors; ++j) v[i][j] += x * row[j];
    }
  }
};

template <int kRows, int kVectors>
void SideBySide(const ConvTile& t, int64_t part) {
  Sums<kRows, kVectors> sums(t, part);
  for (int64_t n = 0; n < t.n[0]; ++n) {
    for (int64_t r = 0; r < t.n[1]; ++r) {
      const float* a = t.a + n * t.a_step[0] + r * t.a_step[1];
      const float* b = t.b + n * t.b_step[0] + r * t.b_step[1] + part;
      for (int64_t s = 0; s < t.n[2]; ++s) {
        sums.Step(b, [=](int i) { return a[i]; });
        a += t.a_step[2];
        b += t.b_step[2];
      }
    }
  }
  sums.Store(t, part);
}

// Lanes are reached from four pointers by what one x86 address can add: 1, 2, 3 and 4 lanes.
template <int kRows, int kVectors>
void Apart(const ConvTile& t, int64_t part) {
  Sums<kRows, kVectors> sums(t, part);
  const int64_t lane = t.a_lane * static_cast<int64_t>(sizeof(float)), three = 3 * lane;
  for (int64_t n = 0; n < t.n[0]; ++n) {
    for (int64_t r = 0; r < t.n[1]; ++r) {
      const char* p[4];
      p[0] = reinterpret_cast<const char*>(t.a + n * t.a_step[0] + r * t.a_step[1]);
      for (int i = 1; i < 4; ++i) p[i] = p[i - 1] + 5 * lane;
      const float* b = t.b + n * t.b_step[0] + r * t.b_step[1] + part;
      for (int64_t s = 0; s < t.n[2]; ++s) {
        sums.Step(b, [=](int i) {
          const char* from = p[i / 5];
          const int j = i % 5;
          return *reinterpret_cast<const float*>(j == 3 ? from + three : from + j * lane);
        });
        for (int i = 0; i < 4; ++i) p[i] += sizeof(float);
        b += t.b_step[2];
      }
    }
  }
  sums.Store(t, part);
}

// 16 columns whose every element of a meets three rows of b, b_group apart: lane p of a with the
// first adds to row p, with the second to row p - 1, with the third to row p - 2.
template <int kRows>
void Three(const ConvTile& t, int64_t part) {
  Sums<kRows, 1> sums(t, part);
  const int64_t lane = t.a_lane * static_cast<int64_t>(sizeof(float)), three = 3 * lane;
  for (int64_t r = 0; r < t.n[0]; ++r) {
    const char* p[4];
    p[0] = reinterpret_cast<const char*>(t.a + r * t.a_step[0]);
    for (int i = 1; i < 4; ++i) p[i] = p[i - 1] + 5 * lane;
    const float* b = t.b + r * t.b_step[0] + part;
    for (int64_t s = 0; s < t.n[2]; ++s) {
      const Vector row[3] = {LoadVector(b), LoadVector(b + t.b_group),
                             LoadVector(b + 2 * t.b_group)};
#pragma GCC unroll 18
      for (int i = 0; i < kRows + 2; ++i) {
        const char* from = p[i / 5];
        const int j = i % 5;
        const Vector x =
            *reinterpret_cast<const float*>(j == 3 ? from + three : from + j * lane) - Vector{};
        if (i < kRows) sums.v[i][0] += x * row[0];
        if (i >= 1 && i <= kRows) sums.v[i - 1][0] += x * row[1];
        if (i >= 2) sums.v[i - 2][0] += x * row[2];
      }
      for (int i = 0; i < 4; ++i) p[i] += sizeof(float);
      b += t.b_step[2];
    }
  }
  sums.Store(t, part);
}

// As many vectors of a row at a time as leave registers for the sums, a row of b and one element
// of a: the fewer rows, the more. (Loads are what limits a tile of one vector.)
template <int kRows, int kVectors, class F>
[[gnu::always_inline]] inline int64_t Groups(const ConvTile& t, int64_t part, const F& f) {
  if constexpr (kVectors * (kRows + 1) < MARIANA_REGISTERS) {
    for (; part + kVectors * kWidth <= t.width; part += kVectors * kWidth) {
      f(part, std::integral_constant<int, kRows>(), std::integral_constant<int, kVectors>());
    }
  }
  return part;
}

// f(part, rows, vectors), the last two constants.
template <int kRows, class F>
[[gnu::always_inline]] inline void Parts(const ConvTile& t, const F& f) {
  if (t.rows == kRows) {
    int64_t part = Groups<kRows, 4>(t, 0, f);
    part = Groups<kRows, 3>(t, part, f);
    part = Groups<kRows, 2>(t, part, f);
    Groups<kRows, 1>(t, part, f);
  } else if constexpr (kRows > 1) {
    Parts<kRows - 1>(t, f);
  }
}

void Tile(const ConvTile& t) {
  Parts<MARIANA_CONV_ROWS>(t, [&](int64_t part, auto rows, auto vectors) {
    SideBySide<decltype(rows)::value, decltype(vectors)::value>(t, part);
  });
}

void Lanes(const ConvTile& t) {
  Parts<MARIANA_CONV_ROWS>(t, [&](int64_t part, auto rows, auto vectors) {
    Apart<decltype(rows)::value, decltype(vectors)::value>(t, part);
  });
}

template <int kRows>
void ThreeOf(const ConvTile& t) {
  if (t.rows == kRows) {
    for (int64_t part = 0; part < 16; part += kWidth) Three<kRows>(t, part);
  } else if constexpr (kRows > 1) {
    ThreeOf<kRows - 1>(t);
  }
}

}  // namespace

void AddConv(Kernels* k) {
  // Rows whose sums fit the registers, for tiles of 16, 32, 48 and 64 columns.
  for (int sixteens = 1; sixteens <= 4; ++sixteens) {
    const int vectors = kWidth == 16 ? sixteens : 2;
    const int rows = (MARIANA_REGISTERS - 1) / vectors - 1;
    k->conv_rows[sixteens - 1] = rows < MARIANA_CONV_ROWS ? rows : MARIANA_CONV_ROWS;
  }
  k->conv_tile = Tile;
  k->conv_lanes = Lanes;
  k->conv_three = ThreeOf<MARIANA_CONV_ROWS>;
  k->conv_three_rows = MARIANA_CONV_ROWS;
}

}  // namespace mariana::MARIANA_ISA
