// The inner loops over pixels, compiled once per instruction set (kernels/pixel_kernels.cc with
// MARIANA_ISA) and chosen at run time. Values are floats in [0, 255]. Nothing here throws or
// allocates. Thread-safe.
#pragma once

#include <cstdint>

#include "common/base/shape.h"

namespace mariana {

// Elements behind the n of a row that a kernel may read (they must be numbers) or write.
constexpr int64_t kRowSlack = 64;

struct PixelKernels {
  const char* isa;  // "avx512"

  // y[i] = sum over t of weight[t] * x[t * stride + i], i < n; 0 without taps.
  void (*blend_rows)(const uint8_t* x, int64_t stride, const float* weight, int64_t taps, float* y,
                     int64_t n);
  // Pixels of 1 or 3 channels: y[i, c] = sum over t < width of weight[i * width + t] *
  // x[first[i] + t, c]. Reads up to width pixels from first[i] on, whatever their weight.
  void (*blend_columns)(const float* x, const int32_t* first, const float* weight, int64_t width,
                        int64_t channels, float* y, int64_t n);
  // y[i] = x[i] * scale[i] + shift[i], rounded to the output's type.
  void (*normalize)(const float* x, const float* scale, const float* shift, void* y, Dtype t,
                    int64_t n);

  // torchvision's changes of colour, in place, n values.
  void (*brighten)(float* x, float factor, int64_t n);               // f x
  void (*toward)(float* x, float factor, float towards, int64_t n);  // f x + (1 - f) towards
  void (*saturate)(float* x, float factor, int64_t pixels);          // towards each pixel's grey
  double (*mean_grey)(const float* x, int64_t channels, int64_t pixels);
};

// The best that this CPU can run. Error(kUsage) when it lacks AVX2.
const PixelKernels& BestPixelKernels();
// By name ("avx2", "avx512"); null when this CPU cannot run it.
const PixelKernels* FindPixelKernels(const char* isa);

}  // namespace mariana
