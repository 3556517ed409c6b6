#include "common/data/rows/numbers.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace mariana {
namespace {

constexpr double kPowers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Everything from_chars knows, less "inf", "nan" and what does not fit.
bool ParseAnyReal(const char* p, size_t n, float* value) {
  if (n > 0 && *p == '+') {
    ++p;
    --n;
    if (n > 0 && *p == '-') return false;
  }
  double x;
  const auto [end, error] = std::from_chars(p, p + n, x);
  if (end != p + n || (error != std::errc() && error != std::errc::result_out_of_range)) {
    return false;
  }
  // Too small for a double: 0. Too large for a float: not finite.
  if (error == std::errc::result_out_of_range) {
    float narrow = 0;
    const auto [narrow_end, narrow_error] = std::from_chars(p, p + n, narrow);
    if (narrow_end != p + n) return false;
    bool small = false;  // 1e-999: its exponent is negative
    for (size_t i = 0; i + 1 < n; ++i) small |= (p[i] == 'e' || p[i] == 'E') && p[i + 1] == '-';
    if (narrow_error != std::errc() && !small) return false;
    x = 0;
  }
  *value = static_cast<float>(x);
  return std::isfinite(*value);
}

}  // namespace

bool ParseWhole(const char* p, size_t n, int64_t* value) {
  const bool minus = n > 0 && *p == '-';
  if (n > 0 && (*p == '-' || *p == '+')) {
    ++p;
    --n;
  }
  if (n == 0 || n > 18) return false;
  int64_t sum = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!IsDigit(p[i])) return false;
    sum = sum * 10 + (p[i] - '0');
  }
  *value = minus ? -sum : sum;
  return true;
}

bool ParseReal(const char* p, size_t n, float* value) {
  // Up to 15 digits and a small exponent of ten: exact in doubles (Clinger 1990).
  size_t i = 0;
  const bool minus = n > 0 && p[0] == '-';
  if (n > 0 && (p[0] == '-' || p[0] == '+')) i = 1;
  uint64_t digits = 0;
  size_t count = 0, after_point = 0;
  for (; i < n && IsDigit(p[i]); ++i, ++count)
    digits = digits * 10 + static_cast<uint64_t>(p[i] - '0');
  if (i < n && p[i] == '.') {
    const size_t point = ++i;
    for (; i < n && IsDigit(p[i]); ++i) digits = digits * 10 + static_cast<uint64_t>(p[i] - '0');
    after_point = i - point;
    count += after_point;
  }
  if (i != n || count == 0 || count > 15) return n > 0 && ParseAnyReal(p, n, value);
  const double x = static_cast<double>(digits) / kPowers[after_point];
  *value = static_cast<float>(minus ? -x : x);
  return true;
}

}  // namespace mariana
