#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// f(width) with the usual width a constant, so that its loops have no remainder.
template <class F>
[[gnu::always_inline]] inline void WithWidth(int64_t width, const F& f) {
  if (width == kPanel) {
    f(std::integral_constant<int64_t, kPanel>());
  } else {
    f(width);
  }
}

void BiasActivate(Activation activation, const float* c, const float* b, float* y, int64_t y_stride,
                  int64_t rows, int64_t cols) {
  const float zero[kPanel] = {};
  const float* bias = b == nullptr ? zero : b;
  WithActivation(activation, [=](auto tag) {
    constexpr Activation a = decltype(tag)::kValue;
    WithWidth(cols, [=](auto width) {
      for (int64_t r = 0; r < rows; ++r) {
        const float* from = c + r * kPanel;
        float* to = y + r * y_stride;
        Each(width, [=](int64_t i) { to[i] = formulas::Apply<a>(from[i] + bias[i]); });
      }
    });
  });
}

// One panel of SlopeAndPanels. y and dy: rows of `stride`.
template <Activation a, class Width>
[[gnu::always_inline]] inline void SlopePanelRow(const float* y, float* dy, Width width,
                                                 float* sums, float* panel) {
  Each(width, [=](int64_t i) {
    const float d = dy[i] * formulas::Slope<a>(y[i]);
    if (a != Activation::kNone) dy[i] = d;
    panel[i] = d;
    sums[i] += d;
  });
}

void WriteSums(const float* sums, int64_t n, bool accumulate, float* db) {
  if (accumulate) {
    Each(n, [=](int64_t i) { db[i] += sums[i]; });
  } else {
    Each(n, [=](int64_t i) { db[i] = sums[i]; });
  }
}

void SlopeAndPanels(Activation activation, const float* y, float* dy, int64_t stride, int64_t rows,
                    int64_t cols, float* db, bool accumulate, float* panels, int64_t panel_stride) {
  constexpr int64_t kStrip = 8 * kPanel;  // columns of a row at a time
  WithActivation(activation, [=](auto tag) {
    constexpr Activation a = decltype(tag)::kValue;
    for (int64_t c = 0; c < cols; c += kStrip) {
      const int64_t strip = cols - c < kStrip ? cols - c : kStrip;
      float sums[kStrip] = {};
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t p = 0; p < strip; p += kPanel) {
          const int64_t at = r * stride + c + p;
          float* panel = panels + (c + p) / kPanel * panel_stride + r * kPanel;
          WithWidth(strip - p < kPanel ? strip - p : kPanel, [&](auto width) {
            SlopePanelRow<a>(y + at, dy + at, width, sums + p, panel);
            for (int64_t i = width; i < kPanel; ++i) panel[i] = 0;
          });
        }
      }
      if (db != nullptr) WriteSums(sums, strip, accumulate, db + c);
    }
  });
}

// A strip of at most kLanes columns over all rows: the sums stay in registers or first cache.
template <Activation a, class T>
void SlopeStrip(const T* y, T* dy, int64_t stride, int64_t rows, int64_t cols, float* sums,
                uint16_t* copy16) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* out = y + r * stride;
    T* d = dy + r * stride;
    if (a != Activation::kNone) {
      Each(cols, [=](int64_t i) { Store(d, i, Load(d, i) * formulas::Slope<a>(Load(out, i))); });
    }
    Each(cols, [=](int64_t i) { sums[i] += Load(d, i); });
    if (copy16 != nullptr) {
      uint16_t* c = copy16 + r * stride;
      Each(cols, [=](int64_t i) { Store(c, i, Load(d, i)); });
    }
  }
}

void SlopeAndSums(Activation activation, const void* y, void* dy, int64_t stride, int64_t rows,
                  int64_t cols, float* db, bool accumulate, uint16_t* copy16, Dtype t) {
  constexpr int64_t kStrip = 256;
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    WithActivation(activation, [=](auto tag) {
      for (int64_t c = 0; c < cols; c += kStrip) {
        const int64_t width = cols - c < kStrip ? cols - c : kStrip;
        float sums[kStrip] = {};
        SlopeStrip<decltype(tag)::kValue>(static_cast<const T*>(y) + c, static_cast<T*>(dy) + c,
                                          stride, rows, width, sums,
                                          copy16 == nullptr ? nullptr : copy16 + c);
        if (db != nullptr) WriteSums(sums, width, accumulate, db + c);
      }
    });
  });
}

}  // namespace

void AddLinear(Kernels* k) {
  k->bias_activate = BiasActivate;
  k->slope_and_panels = SlopeAndPanels;
  k->slope_and_sums = SlopeAndSums;
}

}  // namespace mariana::MARIANA_ISA
