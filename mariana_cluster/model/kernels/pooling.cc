// Embeddings into the net's input, and its gradient back to them.
#include "common/device/formulas.h"
#include "mariana_cluster/model/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// f(feature i, its column, its factor) for the features of row r, which come by field.
template <class F>
[[gnu::always_inline]] inline void EachPooled(const TermView& t, const PoolView& p, int64_t r,
                                              const F& f) {
  const uint32_t end = t.begin[r + 1];
  for (uint32_t i = t.begin[r]; i < end;) {
    const uint16_t field = t.field[i];
    uint32_t last = i + 1;
    while (last < end && t.field[last] == field) ++last;
    const float share = p.mean ? 1.0f / static_cast<float>(last - i) : 1.0f;
    for (; i < last; ++i) f(i, p.column[field], share * t.value[i]);
  }
}

template <class S>
void Pool(const TermView& t, const PoolView& p, int64_t r, float* row) {
  const int64_t size = S::Of(p.size);
  EachPooled(t, p, r, [&](uint32_t i, int32_t column, float x) {
    const float* v = t.weights + t.index[i] * t.width + p.at;
    float* y = row + column;
    Each(size, [&](int64_t j) { y[j] += x * v[j]; });
  });
}

template <class S>
void PoolBackward(const TermView& t, const PoolView& p, int64_t r, const float* row) {
  const int64_t size = S::Of(p.size);
  EachPooled(t, p, r, [&](uint32_t i, int32_t column, float x) {
    float* dv = t.gradients + t.index[i] * t.width + p.at;
    const float* dy = row + column;
    Each(size, [&](int64_t j) { dv[j] += x * dy[j]; });
  });
}

}  // namespace

void AddPooling(ClickKernels* k) {
  k->pool = [](const TermView& t, const PoolView& p, int64_t r, float* x) {
    WithSize(p.size, [&](auto n) { Pool<decltype(n)>(t, p, r, x); });
  };
  k->pool_backward = [](const TermView& t, const PoolView& p, int64_t r, const float* dx) {
    WithSize(p.size, [&](auto n) { PoolBackward<decltype(n)>(t, p, r, dx); });
  };
  k->to_bf16 = [](const float* x, uint16_t* y, int64_t n) {
    Each(n, [=](int64_t i) { y[i] = formulas::ToBf16(x[i]); });
  };
  k->from_bf16 = [](const uint16_t* x, float* y, int64_t n) {
    Each(n, [=](int64_t i) { y[i] = formulas::FromBf16(x[i]); });
  };
}

}  // namespace mariana::MARIANA_ISA
