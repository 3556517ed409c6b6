#include "common/data/images/resampling.h"

#include <algorithm>
#include <cmath>

namespace mariana {
namespace {

struct Triangle {
  double centre, reach;
  double operator()(int64_t pixel) const {
    return std::max(0.0, 1 - std::abs(static_cast<double>(pixel) + 0.5 - centre) / reach);
  }
};

}  // namespace

void MakeTaps(const AxisSpec& axis, Taps* taps) {
  const double scale = (axis.end - axis.begin) / static_cast<double>(axis.full);
  const double reach = std::max(scale, 1.0);
  const auto low = static_cast<int64_t>(std::floor(axis.begin));
  const auto high = static_cast<int64_t>(std::ceil(axis.end));
  const auto n = static_cast<size_t>(axis.count);
  taps->width = std::min(static_cast<int64_t>(std::ceil(2 * reach)), high - low);
  taps->first.assign(n, 0);
  taps->count.assign(n, 0);
  taps->weight.assign(n * static_cast<size_t>(taps->width), 0.0f);
  taps->source_begin = high;
  taps->source_end = low;
  for (int64_t i = 0; i < axis.count; ++i) {
    const int64_t result = axis.offset + (axis.reversed ? axis.count - 1 - i : i);
    if (result < 0 || result >= axis.full) continue;
    const Triangle triangle{axis.begin + (static_cast<double>(result) + 0.5) * scale, reach};
    // Pillow's rounding; pixels of no weight are left out.
    auto first = std::max(static_cast<int64_t>(std::floor(triangle.centre - reach + 0.5)), low);
    auto last = std::min(static_cast<int64_t>(std::floor(triangle.centre + reach + 0.5)), high);
    while (last - first > 1 && triangle(first) <= 0) ++first;
    while (last - first > 1 && (triangle(last - 1) <= 0 || last - first > taps->width)) --last;
    double sum = 0;
    float* weight = &taps->weight[static_cast<size_t>(i * taps->width)];
    for (int64_t x = first; x < last; ++x) sum += triangle(x);
    for (int64_t x = first; x < last; ++x) {
      weight[x - first] = static_cast<float>(triangle(x) / sum);
    }
    taps->first[i] = static_cast<int32_t>(first);
    taps->count[i] = static_cast<int32_t>(last - first);
    taps->source_begin = std::min(taps->source_begin, first);
    taps->source_end = std::max(taps->source_end, last);
  }
  if (taps->source_begin >= taps->source_end) {
    taps->source_begin = low;
    taps->source_end = low + 1;
  }
  for (size_t i = 0; i < n; ++i) {
    if (taps->count[i] == 0) taps->first[i] = static_cast<int32_t>(taps->source_begin);
  }
}

}  // namespace mariana
