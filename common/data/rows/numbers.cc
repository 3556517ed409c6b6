#include "common/data/rows/numbers.h"

#include <charconv>
#include <cmath>
#include <cstring>
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

namespace {

using U64x4 = uint64_t __attribute__((vector_size(32)));
using U32x4 = uint32_t __attribute__((vector_size(16)));
using U32x8 = uint32_t __attribute__((vector_size(32)));
using U16x16 = uint16_t __attribute__((vector_size(32)));
using I32x8 = int32_t __attribute__((vector_size(32)));
using F32x8 = float __attribute__((vector_size(32)));

template <class V>
V LoadVector(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}

// ParseDigits8 of four words, in the low half of each lane; what is no digit leaves bits in *bad.
inline U64x4 ParseDigits8(U64x4 word, U64x4 n, U64x4* bad) {
  const U64x4 cut = (32 - 4 * n) & 63;
  U64x4 v = (word ^ 0x3030303030303030ull) << cut << cut;
  *bad |= ((v + 0x7676767676767676ull) | v) & 0x8080808080808080ull;
  v = ((v << 3) + (v << 1) + (v >> 8)) & 0x00FF00FF00FF00FFull;
  v = (reinterpret_cast<U64x4>(reinterpret_cast<U16x16>(v) * 100) + (v >> 16)) &
      0x0000FFFF0000FFFFull;
  return reinterpret_cast<U64x4>(reinterpret_cast<U32x8>(v) * 10000) + (v >> 32);
}

}  // namespace

bool ParseDigits(const uint64_t* words, const uint32_t* lengths, size_t n, float* numbers) {
  static_assert(kNumberPad == 8);
  U64x4 bad{};
  for (size_t i = 0; i < n; i += 8) {
    U64x4 digits[2];
    for (int half = 0; half < 2; ++half) {
      const auto length = __builtin_convertvector(LoadVector<U32x4>(lengths + i + 4 * half), U64x4);
      bad |= reinterpret_cast<U64x4>(length > 8);
      digits[half] = ParseDigits8(LoadVector<U64x4>(words + i + 4 * half), length, &bad);
    }
    const auto low = reinterpret_cast<I32x8>(digits[0]), high = reinterpret_cast<I32x8>(digits[1]);
    const I32x8 whole = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    const F32x8 value = __builtin_convertvector(whole, F32x8);
    // All bits set make a NaN.
    const auto empty = LoadVector<I32x8>(lengths + i) == 0;
    const I32x8 result = reinterpret_cast<I32x8>(value) | empty;
    std::memcpy(numbers + i, &result, sizeof(result));
  }
  return (bad[0] | bad[1] | bad[2] | bad[3]) == 0;
}

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
