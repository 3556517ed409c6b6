#include "common/config/bounds.h"

#include <cmath>

#include "common/config/scalars.h"

namespace mariana {

std::string BoundsInWords(const Rule& rule) {
  std::string words;
  if (std::isfinite(rule.min)) {
    words = (rule.min_open ? "above " : "at least ") + FormatReal(rule.min);
  }
  if (std::isfinite(rule.max)) {
    if (!words.empty()) words += " and ";
    words += (rule.max_open ? "below " : "at most ") + FormatReal(rule.max);
  }
  return words;
}

std::string CheckBounds(double value, const Rule& rule) {
  const bool low = rule.min_open ? value <= rule.min : value < rule.min;
  const bool high = rule.max_open ? value >= rule.max : value > rule.max;
  if (!low && !high) return "";
  return "is " + FormatReal(value) + "; must be " + BoundsInWords(rule);
}

}  // namespace mariana
