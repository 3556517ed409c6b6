#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

void BiasActivate(Activation activation, const float* b, float* y, int64_t stride, int64_t rows,
                  int64_t cols) {
  WithActivation(activation, [=](auto tag) {
    constexpr Activation a = decltype(tag)::kValue;
    for (int64_t r = 0; r < rows; ++r) {
      float* row = y + r * stride;
      if (b != nullptr) {
        Each(cols, [=](int64_t i) { row[i] = formulas::Apply<a>(row[i] + b[i]); });
      } else if (a != Activation::kNone) {
        Each(cols, [=](int64_t i) { row[i] = formulas::Apply<a>(row[i]); });
      }
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
        if (db == nullptr) continue;
        const float keep = accumulate ? 1.0f : 0.0f;
        float* d = db + c;
        const float* s = sums;
        if (keep != 0.0f) {
          Each(width, [=](int64_t i) { d[i] += s[i]; });
        } else {
          Each(width, [=](int64_t i) { d[i] = s[i]; });
        }
      }
    });
  });
}

}  // namespace

void AddLinear(Kernels* k) {
  k->bias_activate = BiasActivate;
  k->slope_and_sums = SlopeAndSums;
}

}  // namespace mariana::MARIANA_ISA
