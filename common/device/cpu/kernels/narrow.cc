// Products with a few columns of outputs: dot products and sums of rows, at the speed of memory.
#include "common/device/cpu/kernels/vectors.h"

namespace mariana::MARIANA_ISA {
namespace {

template <class X>
[[gnu::always_inline]] inline float Dot(const X* x, const float* w, int64_t n) {
  constexpr int kParts = 4;
  Vector sum[kParts] = {};
  int64_t i = 0;
  for (; i + kParts * kWidth <= n; i += kParts * kWidth) {
    for (int p = 0; p < kParts; ++p) {
      sum[p] += LoadVector(x + i + p * kWidth) * LoadVector(w + i + p * kWidth);
    }
  }
  for (; i + kWidth <= n; i += kWidth) sum[0] += LoadVector(x + i) * LoadVector(w + i);
  float lanes[kWidth];
  StoreVector(lanes, (sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (int half = kWidth / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  for (; i < n; ++i) lanes[0] += Load(x, i) * w[i];
  return lanes[0];
}

// f(null pointers to the element types of x and of y).
template <class F>
[[gnu::always_inline]] inline void WithTypes(const NarrowShape& s, const F& f) {
  WithType(s.input, [&](auto* x) { WithType(s.output, [&](auto* y) { f(x, y); }); });
}

void NarrowForward(const NarrowShape& s, const void* x, const float* w, const float* b, void* y) {
  WithTypes(s, [&](auto* input, auto* output) {
    const auto* rows = static_cast<decltype(input)>(const_cast<void*>(x));
    auto* to = static_cast<decltype(output)>(y);
    WithActivation(s.activation, [&](auto tag) {
      constexpr Activation a = decltype(tag)::kValue;
      for (int64_t r = 0; r < s.rows; ++r) {
        for (int64_t o = 0; o < s.out; ++o) {
          const float sum = Dot(rows + r * s.in, w + o * s.in, s.in);
          Store(to, r * s.out + o, formulas::Apply<a>(b == nullptr ? sum : sum + b[o]));
        }
      }
    });
  });
}

void NarrowWeights(const NarrowShape& s, const void* x, const void* dz, int64_t begin, int64_t end,
                   float* dw, bool accumulate) {
  constexpr int64_t kRows = 4;  // added at a time
  WithTypes(s, [&](auto* input, auto* output) {
    const auto* rows = static_cast<decltype(input)>(const_cast<void*>(x)) + begin;
    const auto* slopes = static_cast<decltype(output)>(const_cast<void*>(dz));
    for (int64_t o = 0; o < s.out; ++o) {
      float* to = dw + o * s.in + begin;
      const auto slope = [&](int64_t r) { return Load(slopes, r * s.out + o); };
      if (!accumulate) Each(end - begin, [=](int64_t i) { to[i] = 0; });
      int64_t r = 0;
      for (; r + kRows <= s.rows; r += kRows) {
        const auto *x0 = rows + r * s.in, *x1 = x0 + s.in, *x2 = x1 + s.in, *x3 = x2 + s.in;
        const float d0 = slope(r), d1 = slope(r + 1), d2 = slope(r + 2), d3 = slope(r + 3);
        Each(end - begin, [=](int64_t i) {
          to[i] += (d0 * Load(x0, i) + d1 * Load(x1, i)) + (d2 * Load(x2, i) + d3 * Load(x3, i));
        });
      }
      for (; r < s.rows; ++r) {
        const auto* row = rows + r * s.in;
        const float d = slope(r);
        Each(end - begin, [=](int64_t i) { to[i] += d * Load(row, i); });
      }
    }
  });
}

void NarrowInput(const NarrowShape& s, const void* dz, const float* w, void* dx) {
  constexpr int64_t kStrip = 256;  // columns whose sums stay in the first cache
  WithTypes(s, [&](auto* input, auto* output) {
    const auto* slopes = static_cast<decltype(output)>(const_cast<void*>(dz));
    for (int64_t r = 0; r < s.rows; ++r, slopes += s.out) {
      auto* to = static_cast<decltype(input)>(dx) + r * s.in;
      const float first = Load(slopes, 0);
      if (s.out == 1) {
        Each(s.in, [=](int64_t i) { Store(to, i, first * w[i]); });
        continue;
      }
      for (int64_t c = 0; c < s.in; c += kStrip) {
        const int64_t n = s.in - c < kStrip ? s.in - c : kStrip;
        float sums[kStrip];
        Each(n, [&](int64_t i) { sums[i] = first * w[c + i]; });
        for (int64_t o = 1; o < s.out; ++o) {
          const float d = Load(slopes, o);
          const float* row = w + o * s.in + c;
          Each(n, [&](int64_t i) { sums[i] += d * row[i]; });
        }
        Each(n, [&](int64_t i) { Store(to, c + i, sums[i]); });
      }
    }
  });
}

}  // namespace

void AddNarrow(Kernels* k) {
  k->narrow_forward = NarrowForward;
  k->narrow_weights = NarrowWeights;
  k->narrow_input = NarrowInput;
}

}  // namespace mariana::MARIANA_ISA
