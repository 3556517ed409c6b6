#include <immintrin.h>

#include "common/data/rows/kernels/find.h"

namespace mariana {
namespace {

// Emit without a branch: writes up to 64 values, whatever the number of bits.
[[gnu::always_inline]] inline uint32_t* EmitAll(uint64_t mask, uint32_t base, uint32_t* out) {
  __m512i at =
      _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                       _mm512_set1_epi32(static_cast<int>(base)));
  for (int i = 0; i < 4; ++i, mask >>= 16) {
    const auto part = static_cast<uint16_t>(mask);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(part, at));
    out += __builtin_popcount(part);
    at = _mm512_add_epi32(at, _mm512_set1_epi32(16));
  }
  return out;
}

}  // namespace

size_t FindAvx512(const Delimiters& d, const char* text, size_t n, uint32_t* at, uint32_t* line_end,
                  size_t* lines) {
  const __m512i line = _mm512_set1_epi8('\n'), c0 = _mm512_set1_epi8(d.c[0]);
  const __m512i c1 = _mm512_set1_epi8(d.c[1]), c2 = _mm512_set1_epi8(d.c[2]);
  const auto masks = [&](const char* p) {
    const __m512i block = _mm512_loadu_si512(p);
    const uint64_t in_line = _mm512_cmpeq_epi8_mask(block, line);
    return BlockMasks{in_line | _mm512_cmpeq_epi8_mask(block, c0) |
                          _mm512_cmpeq_epi8_mask(block, c1) | _mm512_cmpeq_epi8_mask(block, c2),
                      in_line};
  };
  return Find(masks, EmitAll, text, n, at, line_end, lines);
}

}  // namespace mariana
