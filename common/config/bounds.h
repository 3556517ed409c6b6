// A Rule's bounds, checked and in words. Thread-safe.
#pragma once

#include <string>

#include "common/config/fields.h"

namespace mariana {

// "is 0; must be at least 1", or "".
std::string CheckBounds(double value, const Rule& rule);
// "at least 0 and below 1", or "" without bounds.
std::string BoundsInWords(const Rule& rule);

}  // namespace mariana
