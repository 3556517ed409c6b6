// The weights of Pillow's antialiased bilinear resize along one axis: each result is a weighted sum
// of consecutive source pixels, a triangle as wide as the scale (at least 2 pixels), cut at the
// box's ends (Pillow's Resample.c, precompute_coeffs). Values; thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

namespace mariana {

// Result i = sum over t < count[i] of weight[i * width + t] * source[first[i] + t].
struct Taps {
  int64_t width = 0;           // of the results' weights, zero beyond count
  std::vector<int32_t> first;  // in the source, from source_begin on
  std::vector<int32_t> count;  // 0: the result is 0 (beyond the image)
  std::vector<float> weight;
  // The sources used; one if none is.
  int64_t source_begin = 0, source_end = 0;
};

// Source [begin, end) becomes `full` results; those from `offset` on are wanted, count of them.
// `end` may lie between two pixels. They come in reverse order where `reversed`.
struct AxisSpec {
  double begin = 0, end = 0;
  int64_t full = 0, offset = 0, count = 0;
  bool reversed = false;
};

// Reuses the memory of *taps.
void MakeTaps(const AxisSpec& axis, Taps* taps);

}  // namespace mariana
