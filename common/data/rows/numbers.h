// Numbers in text, read strictly: the whole text is the number or it is refused. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/data/rows/key_hash.h"

namespace mariana {

// Decimal digits of a word whose n (0 to 8) low bytes are text: their value (0 for none), or a
// value above 99999999 when one of them is not a digit. (Lemire, "Quickly parsing eight digits".)
inline uint64_t ParseDigits8(uint64_t word, size_t n) {
  const unsigned cut = static_cast<unsigned>(64 - 8 * n) / 2;
  uint64_t digits = (word ^ 0x3030303030303030ull) << cut << cut;
  const uint64_t bad = ((digits + 0x7676767676767676ull) | digits) & 0x8080808080808080ull;
  digits = digits * 10 + (digits >> 8);
  digits = (((digits & 0x000000FF000000FFull) * 0x000F424000000064ull) +
            (((digits >> 16) & 0x000000FF000000FFull) * 0x0000271000000001ull)) >>
           32;
  return static_cast<uint32_t>(digits) | (bad != 0 ? uint64_t{1} << 32 : 0);
}

// Many at once: the texts of numbers, each by its first 8 bytes and its length. n is a multiple of
// kNumberPad; values beyond what there is are left 0 with length 0.
// numbers[i] is text i's value where it has up to 8 digits and nothing else, NaN where it is empty.
// Returns whether all were one of these; of others the number is unspecified.
constexpr size_t kNumberPad = 8;
bool ParseDigits(const uint64_t* words, const uint32_t* lengths, size_t n, float* numbers);

// -5, 12, +7: any number of digits that fits.
bool ParseWhole(const char* p, size_t n, int64_t* value);
// 1, -0.5, +3e-7, .5: decimal and finite, correctly rounded.
bool ParseReal(const char* p, size_t n, float* value);

}  // namespace mariana
