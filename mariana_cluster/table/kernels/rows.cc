// See row_kernels.h.
#include <cstring>

#include "mariana_cluster/table/row_kernels.h"
#include "mariana_cluster/table/row_math.h"

#define MARIANA_NAME_OF(x) #x
#define MARIANA_NAME(x) MARIANA_NAME_OF(x)

namespace mariana::MARIANA_ISA {
namespace {

using row_math::FtrlWeight;
using row_math::Penalized;

constexpr int kLine = 64;
// Fetched before their use: so many rows, of wide rows so many lines.
constexpr int64_t kRowsAhead = 48, kLinesAhead = 96, kLeastRowsAhead = 4;

template <int kWidth>  // 0: as the part says
struct Width {
  [[gnu::always_inline]] static int Of(const LayoutPart& p) {
    return kWidth > 0 ? kWidth : p.width;
  }
};

// ---- one part of one row: x its floats
// unroll 1: gcc would unroll loops of a small constant width before it could vectorise them.
template <class W>
[[gnu::always_inline]] inline void Read(const LayoutPart& p, const float* x, float* values) {
  const int width = W::Of(p);
  if (p.type == RowOptimizer::kFtrl) {
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int j = 0; j < width; ++j) values[j] = FtrlWeight(p, x[j], x[width + j]);
  } else {
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int j = 0; j < width; ++j) values[j] = x[j];
  }
}

template <class W>
[[gnu::always_inline]] inline void Sgd(const LayoutPart& p, const float* g, float rate, float* x) {
  const int width = W::Of(p);
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int j = 0; j < width; ++j) x[j] -= rate * Penalized(p, g[j], x[j]);
}

template <class W>
[[gnu::always_inline]] inline void AdaGrad(const LayoutPart& p, const float* g, float rate,
                                           float* x) {
  const int width = W::Of(p);
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int j = 0; j < width; ++j) {
    const float q = Penalized(p, g[j], x[j]);
    const float sum = x[width + j] + q * q;
    x[width + j] = sum;
    x[j] -= rate * q / (__builtin_sqrtf(sum) + p.epsilon);
  }
}

template <class W>
[[gnu::always_inline]] inline void RowwiseAdaGrad(const LayoutPart& p, const float* g, float rate,
                                                  float* x) {
  const int width = W::Of(p);
  // Eight partial sums: their order is the same for every vector width.
  constexpr int kLanes = 8;
  float lane[kLanes] = {};
  const int whole = width - width % kLanes;
  for (int j = 0; j < whole; j += kLanes) {
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int k = 0; k < kLanes; ++k) {
      const float q = Penalized(p, g[j + k], x[j + k]);
      lane[k] += q * q;
    }
  }
  for (int j = whole; j < width; ++j) {
    const float q = Penalized(p, g[j], x[j]);
    lane[j - whole] += q * q;
  }
  const float squares =
      ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  const float sum = x[width] + squares / static_cast<float>(width);
  x[width] = sum;
  const float step = rate / (__builtin_sqrtf(sum) + p.epsilon);
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int j = 0; j < width; ++j) x[j] -= step * Penalized(p, g[j], x[j]);
}

template <class W>
[[gnu::always_inline]] inline void Adam(const LayoutPart& p, const float* g, float rate, float* x) {
  const int width = W::Of(p);
  float* m = x + width;
  float* v = m + width;
  const float t = v[width] + 1;  // updates of this row; exact up to 2^24, then it stays
  v[width] = t;
  const float step = rate / (1.0f - __builtin_powf(p.beta1, t));
  const float root = 1.0f / __builtin_sqrtf(1.0f - __builtin_powf(p.beta2, t));
  const float rest1 = 1.0f - p.beta1, rest2 = 1.0f - p.beta2;
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int j = 0; j < width; ++j) {
    const float q = Penalized(p, g[j], x[j]);
    m[j] = p.beta1 * m[j] + rest1 * q;
    v[j] = p.beta2 * v[j] + rest2 * q * q;
    x[j] -= step * m[j] / (__builtin_sqrtf(v[j]) * root + p.epsilon);
  }
}

template <class W>
[[gnu::always_inline]] inline void Ftrl(const LayoutPart& p, const float* g, float* x) {
  const int width = W::Of(p);
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int j = 0; j < width; ++j) {
    float z = x[j], n = x[width + j];
    row_math::Ftrl(p, g[j], &z, &n);
    x[j] = z;
    x[width + j] = n;
  }
}

template <class W>
[[gnu::always_inline]] inline void Step(const LayoutPart& p, const float* g, float rate, float* x) {
  const float r = rate * p.learning_rate;
  switch (p.type) {
    case RowOptimizer::kSgd: return Sgd<W>(p, g, r, x);
    case RowOptimizer::kAdaGrad: return AdaGrad<W>(p, g, r, x);
    case RowOptimizer::kRowwiseAdaGrad: return RowwiseAdaGrad<W>(p, g, r, x);
    case RowOptimizer::kAdam: return Adam<W>(p, g, r, x);
    case RowOptimizer::kFtrl: return Ftrl<W>(p, g, x);
  }
}

// f(Width<n>()) with the part's width a constant where it is a common one.
template <class F>
[[gnu::always_inline]] inline void WithWidth(const LayoutPart& p, const F& f) {
  switch (p.width) {
    case 1: return f(Width<1>());
    case 4: return f(Width<4>());
    case 8: return f(Width<8>());
    case 16: return f(Width<16>());
    case 32: return f(Width<32>());
    default: return f(Width<0>());
  }
}

// ---- many rows
// Bytes of a row from its begin to the last that a read or an update needs: weights come before
// the state of their part.
int BytesUsed(const RowLayout& layout, bool write) {
  if (write) return layout.stride;
  const LayoutPart& last = layout.part[layout.parts - 1];
  return last.offset + 4 * (last.type == RowOptimizer::kFtrl ? last.floats : last.width);
}

class Fetcher {
 public:
  Fetcher(const RowBatchArgs& a, bool write)
      : a_(a),
        lines_((BytesUsed(*a.layout, write) + kLine - 1) / kLine),
        write_(write),
        ahead_(kLinesAhead / lines_ > kRowsAhead        ? kRowsAhead
               : kLinesAhead / lines_ < kLeastRowsAhead ? kLeastRowsAhead
                                                        : kLinesAhead / lines_) {
    for (int64_t i = 0; i < ahead_; ++i) Fetch(i);
  }
  // When row i is used.
  [[gnu::always_inline]] void Pass(int64_t i) const { Fetch(i + ahead_); }

 private:
  [[gnu::always_inline]] void Fetch(int64_t i) const {
    if (i >= a_.n) return;
    const auto row = reinterpret_cast<uintptr_t>(a_.rows[i]);  // null is fine: a hint, no access
    for (int l = 0; l < lines_; ++l) {
      const void* line = reinterpret_cast<const void*>(row + static_cast<uintptr_t>(l * kLine));
      if (write_) {
        __builtin_prefetch(line, 1);
      } else {
        __builtin_prefetch(line, 0);
      }
    }
  }

  const RowBatchArgs& a_;
  const int lines_;
  const bool write_;
  const int64_t ahead_;
};

[[gnu::always_inline]] inline void Prepare(const RowBatchArgs& a, char* row) {
  if (a.layout->header_bytes != 4) return;
  uint32_t born;
  std::memcpy(&born, row, 4);
  if (born == 0) a.birth(a.context, row);
}

[[gnu::always_inline]] inline float* FloatsOf(const LayoutPart& p, char* row) {
  return reinterpret_cast<float*>(row + p.offset);
}

// Each row in turn, its successors fetched: f(i, row).
template <class F>
[[gnu::always_inline]] inline void Each(const RowBatchArgs& a, bool write, const F& f) {
  const Fetcher fetcher(a, write);
  for (int64_t i = 0; i < a.n; ++i) {
    fetcher.Pass(i);
    f(i, a.rows[i]);
  }
}

// ---- rows of one FTRL weight (a linear model's): many rows make a vector
constexpr int64_t kRows = 16;

[[gnu::always_inline]] inline bool IsOneFtrlWeight(const RowLayout& layout) {
  return layout.parts == 1 && layout.part[0].type == RowOptimizer::kFtrl && layout.width == 1;
}

// f(first, count, z, n) for so many rows at a time, whose z and n are copied to and, where f
// returns true, back from; a row that is not there has zeros.
template <class F>
[[gnu::always_inline]] inline void EachFtrlBlock(const RowBatchArgs& a, const LayoutPart& p,
                                                 bool write, const F& f) {
  const Fetcher fetcher(a, write);
  for (int64_t first = 0; first < a.n; first += kRows) {
    const int64_t count = a.n - first < kRows ? a.n - first : kRows;
    alignas(kLine) float z[kRows] = {}, n[kRows] = {};
    float none[2] = {};
    float* at[kRows];
    for (int64_t k = 0; k < count; ++k) {
      fetcher.Pass(first + k);
      char* row = a.rows[first + k];
      at[k] = row == nullptr ? none : FloatsOf(p, row);
      z[k] = at[k][0];
      n[k] = at[k][1];
    }
    f(first, count, z, n);
    if (!write) continue;
    for (int64_t k = 0; k < count; ++k) {
      if (at[k] == none) continue;
      at[k][0] = z[k];
      at[k][1] = n[k];
    }
  }
}

void GatherFtrl(const RowBatchArgs& a, float* values) {
  const LayoutPart p = a.layout->part[0];
  EachFtrlBlock(a, p, false, [&](int64_t first, int64_t count, const float* z, const float* n) {
    float w[kRows];
#pragma GCC ivdep
    for (int64_t k = 0; k < kRows; ++k) w[k] = FtrlWeight(p, z[k], n[k]);
    std::memcpy(values + first, w, count * sizeof(float));
  });
}

void ApplyFtrl(const RowBatchArgs& a, const float* gradients) {
  const LayoutPart p = a.layout->part[0];
  EachFtrlBlock(a, p, true, [&](int64_t first, int64_t count, float* z, float* n) {
    float g[kRows] = {};
    std::memcpy(g, gradients + first, count * sizeof(float));
#pragma GCC ivdep
    for (int64_t k = 0; k < kRows; ++k) row_math::Ftrl(p, g[k], &z[k], &n[k]);
  });
  if (a.layout->header_bytes != 12) return;
  for (int64_t i = 0; i < a.n; ++i) {
    if (a.rows[i] != nullptr) std::memcpy(a.rows[i] + 8, &a.stamp, 4);
  }
}

void Gather(const RowBatchArgs& a, float* values) {
  const RowLayout& layout = *a.layout;
  if (IsOneFtrlWeight(layout) && layout.header_bytes != 4) return GatherFtrl(a, values);
  const auto zeros = [&](int64_t i) {
    std::memset(values + i * layout.width, 0, layout.width * sizeof(float));
  };
  if (layout.parts == 1) {
    const LayoutPart p = layout.part[0];  // a copy: stores cannot change it
    WithWidth(p, [&](auto width) {
      Each(a, false, [&](int64_t i, char* row) {
        if (row == nullptr) return zeros(i);
        Prepare(a, row);
        Read<decltype(width)>(p, FloatsOf(p, row), values + i * p.width);
      });
    });
    return;
  }
  Each(a, false, [&](int64_t i, char* row) {
    if (row == nullptr) return zeros(i);
    Prepare(a, row);
    for (int k = 0; k < layout.parts; ++k) {
      const LayoutPart p = layout.part[k];  // a copy: stores to rows cannot change it
      WithWidth(p, [&](auto width) {
        Read<decltype(width)>(p, FloatsOf(p, row), values + i * layout.width + p.value);
      });
    }
  });
}

void Apply(const RowBatchArgs& a, const float* gradients, float rate) {
  const RowLayout& layout = *a.layout;
  if (IsOneFtrlWeight(layout) && layout.header_bytes != 4) return ApplyFtrl(a, gradients);
  const auto stamp = [&](char* row) {
    if (layout.header_bytes != 12) return;
    std::memcpy(row + 8, &a.stamp, 4);
  };
  if (layout.parts == 1) {
    const LayoutPart p = layout.part[0];
    WithWidth(p, [&](auto width) {
      Each(a, true, [&](int64_t i, char* row) {
        if (row == nullptr) return;
        Prepare(a, row);
        stamp(row);
        Step<decltype(width)>(p, gradients + i * p.width, rate, FloatsOf(p, row));
      });
    });
    return;
  }
  Each(a, true, [&](int64_t i, char* row) {
    if (row == nullptr) return;
    Prepare(a, row);
    stamp(row);
    for (int k = 0; k < layout.parts; ++k) {
      const LayoutPart p = layout.part[k];  // a copy: stores to rows cannot change it
      WithWidth(p, [&](auto width) {
        Step<decltype(width)>(p, gradients + i * layout.width + p.value, rate, FloatsOf(p, row));
      });
    }
  });
}

}  // namespace

RowKernels MakeRowKernels() { return {MARIANA_NAME(MARIANA_ISA), Gather, Apply}; }

}  // namespace mariana::MARIANA_ISA
