#include <immintrin.h>

#include "common/data/rows/kernels/find.h"

namespace mariana {

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
  return Find(masks, text, n, at, line_end, lines);
}

}  // namespace mariana
