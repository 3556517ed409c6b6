#include "common/data/images/pixel_kernels.h"

#include <cstring>

#include "common/device/formulas.h"

#define MARIANA_NAME_OF(x) #x
#define MARIANA_NAME(x) MARIANA_NAME_OF(x)

namespace mariana::MARIANA_ISA {
namespace {

constexpr int64_t kLanes = 64;
using Pixel = float __attribute__((vector_size(16)));  // R, G, B and what follows

[[gnu::always_inline]] inline Pixel LoadPixel(const float* p) {
  Pixel v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// y = or += the sum of kTaps rows.
template <int kTaps, bool kAdd>
void AddRows(const uint8_t* x, int64_t stride, const float* weight, float* y, int64_t n) {
  float w[kTaps];
  for (int t = 0; t < kTaps; ++t) w[t] = weight[t];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    float sum = kAdd ? y[i] : 0.0f;
    for (int t = 0; t < kTaps; ++t) sum += w[t] * static_cast<float>(x[t * stride + i]);
    y[i] = sum;
  }
}

template <bool kAdd>
void AddUpToFour(const uint8_t* x, int64_t stride, const float* weight, int64_t taps, float* y,
                 int64_t n) {
  switch (taps) {
    case 1: return AddRows<1, kAdd>(x, stride, weight, y, n);
    case 2: return AddRows<2, kAdd>(x, stride, weight, y, n);
    case 3: return AddRows<3, kAdd>(x, stride, weight, y, n);
    default: return AddRows<4, kAdd>(x, stride, weight, y, n);
  }
}

void BlendRows(const uint8_t* x, int64_t stride, const float* weight, int64_t taps, float* y,
               int64_t n) {
  if (taps == 0) {
    std::memset(y, 0, static_cast<size_t>(n) * sizeof(*y));
    return;
  }
  // Whole vectors: what lies behind a row may be read and written.
  n = (n + kLanes - 1) / kLanes * kLanes;
  AddUpToFour<false>(x, stride, weight, taps, y, n);
  for (int64_t t = 4; t < taps; t += 4) {
    AddUpToFour<true>(x + t * stride, stride, weight + t, taps - t, y, n);
  }
}

// kWidth 0: any.
template <int64_t kWidth>
void BlendColours(const float* x, const int32_t* first, const float* weight, int64_t any_width,
                  float* y, int64_t n) {
  const int64_t width = kWidth > 0 ? kWidth : any_width;
  for (int64_t i = 0; i < n; ++i, weight += width) {
    const float* p = x + 3 * int64_t{first[i]};
    Pixel sum = {};
    for (int64_t t = 0; t < width; ++t) sum += weight[t] * LoadPixel(p + 3 * t);
    std::memcpy(y + 3 * i, &sum, sizeof(sum));  // the fourth is written over by the next pixel
  }
}

void BlendGrey(const float* x, const int32_t* first, const float* weight, int64_t width, float* y,
               int64_t n) {
  for (int64_t i = 0; i < n; ++i, weight += width) {
    float sum = 0;
    for (int64_t t = 0; t < width; ++t) sum += weight[t] * x[first[i] + t];
    y[i] = sum;
  }
}

void BlendColumns(const float* x, const int32_t* first, const float* weight, int64_t width,
                  int64_t channels, float* y, int64_t n) {
  if (channels == 1) return BlendGrey(x, first, weight, width, y, n);
  switch (width) {
    case 1: return BlendColours<1>(x, first, weight, width, y, n);
    case 2: return BlendColours<2>(x, first, weight, width, y, n);
    case 3: return BlendColours<3>(x, first, weight, width, y, n);
    case 4: return BlendColours<4>(x, first, weight, width, y, n);
    case 5: return BlendColours<5>(x, first, weight, width, y, n);
    default: return BlendColours<0>(x, first, weight, width, y, n);
  }
}

void Normalize(const float* x, const float* scale, const float* shift, void* y, Dtype t,
               int64_t n) {
  if (t == Dtype::kF32) {
    auto* out = static_cast<float*>(y);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale[i] + shift[i];
  } else {
    auto* out = static_cast<uint16_t*>(y);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = formulas::ToBf16(x[i] * scale[i] + shift[i]);
  }
}

[[gnu::always_inline]] inline float Clamp(float x) {
  x = x < 0.0f ? 0.0f : x;
  return x > 255.0f ? 255.0f : x;
}

void Toward(float* x, float factor, float towards, int64_t n) {
  const float rest = (1 - factor) * towards;
  for (int64_t i = 0; i < n; ++i) x[i] = Clamp(factor * x[i] + rest);
}

void Brighten(float* x, float factor, int64_t n) { Toward(x, factor, 0, n); }

constexpr float kRed = 0.2989f, kGreen = 0.587f, kBlue = 0.114f;  // torchvision's

void Saturate(float* x, float factor, int64_t pixels) {
  for (int64_t i = 0; i < pixels; ++i) {
    float* p = x + 3 * i;
    const float rest = (1 - factor) * (kRed * p[0] + kGreen * p[1] + kBlue * p[2]);
    for (int c = 0; c < 3; ++c) p[c] = Clamp(factor * p[c] + rest);
  }
}

double MeanGrey(const float* x, int64_t channels, int64_t pixels) {
  // Element i into sum i % 48, whatever the instruction set: 48 is a multiple of 3 channels.
  constexpr int64_t kSums = 48, kRun = 48 * 256;
  const int64_t n = pixels * channels;
  double channel[3] = {};
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t end = begin + kRun < n ? begin + kRun : n;
    float sum[kSums] = {};
    int64_t i = begin;
    for (; i + kSums <= end; i += kSums) {
      for (int64_t s = 0; s < kSums; ++s) sum[s] += x[i + s];
    }
    for (int64_t s = 0; i < end; ++i, ++s) sum[s] += x[i];
    for (int64_t s = 0; s < kSums; ++s) channel[s % 3] += sum[s];
  }
  const double sum = channels == 1 ? channel[0] + channel[1] + channel[2]
                                   : kRed * channel[0] + kGreen * channel[1] + kBlue * channel[2];
  return sum / static_cast<double>(pixels);
}

}  // namespace

PixelKernels ImageKernels() {
  return {MARIANA_NAME(MARIANA_ISA),
          BlendRows,
          BlendColumns,
          Normalize,
          Brighten,
          Toward,
          Saturate,
          MeanGrey};
}

}  // namespace mariana::MARIANA_ISA
