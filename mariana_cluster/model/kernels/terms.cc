// The linear term and the factorisation machine.
#include "mariana_cluster/model/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// f(width of the table's rows, where the part begins): constants for a table of the linear term
// alone, where a key is one float.
template <class F>
[[gnu::always_inline]] inline void WithStride(int64_t width, int64_t at, const F& f) {
  if (width == 1 && at == 0) {
    f(Size<1>());
  } else {
    f(Size<0>());
  }
}

void Linear(const TermView& t, int64_t at, float* logits) {
  WithStride(t.width, at, [&](auto size) {
    const int64_t width = size.Of(t.width);
    const float* w = t.weights + at;
    const auto term = [&](uint32_t i) { return w[t.index[i] * width] * t.value[i]; };
    for (int64_t r = 0; r < t.rows; ++r) {
      uint32_t i = t.begin[r];
      const uint32_t end = t.begin[r + 1];
      float a = 0, b = 0, c = 0, d = 0;  // four chains of additions instead of one
      for (; i + 4 <= end; i += 4) {
        a += term(i);
        b += term(i + 1);
        c += term(i + 2);
        d += term(i + 3);
      }
      for (; i < end; ++i) a += term(i);
      logits[r] += (a + b) + (c + d);
    }
  });
}

void LinearBackward(const TermView& t, int64_t at, const float* g) {
  WithStride(t.width, at, [&](auto size) {
    const int64_t width = size.Of(t.width);
    float* dw = t.gradients + at;
    const uint32_t* index = t.index;
    const float* value = t.value;
    for (int64_t r = 0; r < t.rows; ++r) {
      const float gradient = g[r];
      const uint32_t end = t.begin[r + 1];
      for (uint32_t i = t.begin[r]; i < end; ++i) dw[index[i] * width] += gradient * value[i];
    }
  });
}

template <class S>
void Fm(const TermView& t, int64_t at, int64_t n, float* all_sums, float* logits) {
  const int64_t size = S::Of(n), width = t.width;
  float s[S::kRoom], squares[S::kRoom];
  for (int64_t r = 0; r < t.rows; ++r) {
    float* sums = all_sums + r * size;
    Each(size, [&](int64_t j) {
      s[j] = sums[j];
      squares[j] = 0;
    });
    const uint32_t end = t.begin[r + 1];
    for (uint32_t i = t.begin[r]; i < end; ++i) {
      const float x = t.value[i];
      const float* v = t.weights + t.index[i] * width + at;
      Each(size, [&](int64_t j) {
        const float xv = x * v[j];
        s[j] += xv;
        squares[j] += xv * xv;
      });
    }
    Each(size, [&](int64_t j) { sums[j] = s[j]; });
    logits[r] -= 0.5f * Sum(size, [&](int64_t j) { return squares[j]; });
  }
}

template <class S>
void FmBackward(const TermView& t, int64_t at, int64_t n, const float* all_sums, const float* g) {
  const int64_t size = S::Of(n), width = t.width;
  for (int64_t r = 0; r < t.rows; ++r) {
    const float* s = all_sums + r * size;
    const uint32_t end = t.begin[r + 1];
    for (uint32_t i = t.begin[r]; i < end; ++i) {
      const float x = t.value[i], gx = g[r] * x;
      const int64_t key = t.index[i] * width + at;
      const float* v = t.weights + key;
      float* dv = t.gradients + key;
      Each(size, [&](int64_t j) { dv[j] += gx * (s[j] - x * v[j]); });
    }
  }
}

}  // namespace

void AddTerms(ClickKernels* k) {
  k->linear = Linear;
  k->linear_backward = LinearBackward;
  k->fm = [](const TermView& t, int64_t at, int64_t size, float* s, float* logits) {
    WithSize(size, [&](auto n) { Fm<decltype(n)>(t, at, size, s, logits); });
  };
  k->fm_finish = [](const float* s, int64_t rows, int64_t size, float* logits) {
    WithSize(size, [&](auto tag) {
      const int64_t n = tag.Of(size);
      for (int64_t r = 0; r < rows; ++r) {
        const float* x = s + r * n;
        logits[r] += 0.5f * Sum(n, [&](int64_t j) { return x[j] * x[j]; });
      }
    });
  };
  k->fm_backward = [](const TermView& t, int64_t at, int64_t size, const float* s, const float* g) {
    WithSize(size, [&](auto n) { FmBackward<decltype(n)>(t, at, size, s, g); });
  };
}

}  // namespace mariana::MARIANA_ISA
