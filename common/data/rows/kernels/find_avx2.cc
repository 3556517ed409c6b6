#include <immintrin.h>

#include "common/data/rows/kernels/find.h"

namespace mariana {
namespace {

[[gnu::always_inline]] inline uint64_t Equal(__m256i low, __m256i high, __m256i c) {
  const auto a = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, c)));
  const auto b = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, c)));
  return a | uint64_t{b} << 32;
}

}  // namespace

size_t FindAvx2(const Delimiters& d, const char* text, size_t n, uint32_t* at, uint32_t* line_end,
                size_t* lines) {
  const __m256i line = _mm256_set1_epi8('\n'), c0 = _mm256_set1_epi8(d.c[0]);
  const __m256i c1 = _mm256_set1_epi8(d.c[1]), c2 = _mm256_set1_epi8(d.c[2]);
  const auto masks = [&](const char* p) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32));
    const uint64_t in_line = Equal(low, high, line);
    return BlockMasks{in_line | Equal(low, high, c0) | Equal(low, high, c1) | Equal(low, high, c2),
                      in_line};
  };
  return Find(masks, Emit, text, n, at, line_end, lines);
}

}  // namespace mariana
