#include "common/data/rows/scan.h"

#include <immintrin.h>

namespace mariana {
namespace {

constexpr size_t kBlock = 64;

// Two masks of a block of 64 bytes: bit i is byte i. `line` is a part of `any`.
struct BlockMasks {
  uint64_t any, line;
};

// Writes the positions of the set bits: eight at a time, so that the number of bits, which nobody
// can predict, costs a branch for every eight only. Writes up to seven beyond.
[[gnu::always_inline]] inline uint32_t* Emit(uint64_t mask, uint32_t base, uint32_t* out) {
  const int count = __builtin_popcountll(mask);
  uint32_t* next = out;
  for (int done = 0; done < count; done += 8) {
    for (int i = 0; i < 8; ++i) {
      // Past the last bit the index is 64 or undefined: overwritten by what follows.
      next[i] = base + static_cast<uint32_t>(__builtin_ctzll(mask | (uint64_t{1} << 63)));
      mask &= mask - 1;
    }
    next += 8;
  }
  return out + count;
}

// masks(p) gives the BlockMasks of the 64 bytes at p.
template <class Masks>
[[gnu::always_inline]] inline void Find(const Masks& masks, const char* text, size_t n,
                                        Positions* found) {
  found->count = found->lines = 0;
  if (found->at.empty()) found->at.resize(8 * kBlock);
  found->at[0] = UINT32_MAX;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    if (found->at.size() < found->count + 2 * kBlock + 1) {
      found->at.resize(found->at.size() * 2 + 4 * kBlock);
    }
    if (found->line_end.size() < found->lines + 2 * kBlock) {
      found->line_end.resize(found->line_end.size() * 2 + 4 * kBlock);
    }
    BlockMasks m = masks(text + begin);
    if (n - begin < kBlock) {
      const uint64_t inside = (uint64_t{1} << (n - begin)) - 1;
      m.any &= inside;
      m.line &= inside;
    }
    uint32_t* const at = found->at.data() + 1 + found->count;
    for (uint64_t line = m.line; line != 0; line &= line - 1) {
      const uint64_t before = m.any & ((line & -line) - 1);
      found->line_end[found->lines++] =
          static_cast<uint32_t>(found->count) + static_cast<uint32_t>(__builtin_popcountll(before));
    }
    found->count +=
        static_cast<size_t>(Emit(m.any, static_cast<uint32_t>(begin), at) - at);
  }
}

BlockMasks PlainMasks(const Delimiters& d, const char* p) {
  BlockMasks m{0, 0};
  for (size_t i = 0; i < kBlock; ++i) {
    const char c = p[i];
    const bool line = c == '\n';
    const bool any = line || c == d.c[0] || c == d.c[1] || c == d.c[2] || c == d.c[3];
    m.any |= uint64_t{any} << i;
    m.line |= uint64_t{line} << i;
  }
  return m;
}

void FindPlain(const Delimiters& d, const char* text, size_t n, Positions* found) {
  Find([&](const char* p) { return PlainMasks(d, p); }, text, n, found);
}

[[gnu::target("avx2,bmi,bmi2,popcnt,lzcnt"), gnu::always_inline]] inline uint64_t Equal32x2(
    __m256i low, __m256i high, __m256i c) {
  const auto a = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, c)));
  const auto b = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, c)));
  return a | uint64_t{b} << 32;
}

struct Avx2Masks {
  __m256i line, c0, c1, c2, c3;
  [[gnu::target("avx2,bmi,bmi2,popcnt,lzcnt"), gnu::always_inline]] inline BlockMasks operator()(
      const char* p) const {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32));
    const uint64_t lines = Equal32x2(low, high, line);
    return {lines | Equal32x2(low, high, c0) | Equal32x2(low, high, c1) |
                Equal32x2(low, high, c2) | Equal32x2(low, high, c3),
            lines};
  }
};

[[gnu::target("avx2,bmi,bmi2,popcnt,lzcnt")]] void FindAvx2(const Delimiters& d, const char* text,
                                                            size_t n, Positions* found) {
  const Avx2Masks masks{_mm256_set1_epi8('\n'), _mm256_set1_epi8(d.c[0]),
                        _mm256_set1_epi8(d.c[1]), _mm256_set1_epi8(d.c[2]),
                        _mm256_set1_epi8(d.c[3])};
  Find(masks, text, n, found);
}

struct Avx512Masks {
  __m512i line, c0, c1, c2, c3;
  [[gnu::target("avx512f,avx512bw,avx512vl,bmi,bmi2,popcnt,lzcnt"),
    gnu::always_inline]] inline BlockMasks
  operator()(const char* p) const {
    const __m512i text = _mm512_loadu_si512(p);
    const uint64_t lines = _mm512_cmpeq_epi8_mask(text, line);
    return {lines | _mm512_cmpeq_epi8_mask(text, c0) | _mm512_cmpeq_epi8_mask(text, c1) |
                _mm512_cmpeq_epi8_mask(text, c2) | _mm512_cmpeq_epi8_mask(text, c3),
            lines};
  }
};

[[gnu::target("avx512f,avx512bw,avx512vl,bmi,bmi2,popcnt,lzcnt")]] void FindAvx512(
    const Delimiters& d, const char* text, size_t n, Positions* found) {
  const Avx512Masks masks{_mm512_set1_epi8('\n'), _mm512_set1_epi8(d.c[0]),
                          _mm512_set1_epi8(d.c[1]), _mm512_set1_epi8(d.c[2]),
                          _mm512_set1_epi8(d.c[3])};
  Find(masks, text, n, found);
}

}  // namespace

const std::vector<DelimiterScan>& UsableScans() {
  static const std::vector<DelimiterScan> usable = [] {
    std::vector<DelimiterScan> found;
    const bool bits = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                      __builtin_cpu_supports("popcnt");
    if (bits && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
      found.push_back({"avx512", FindAvx512});
    }
    if (bits && __builtin_cpu_supports("avx2")) found.push_back({"avx2", FindAvx2});
    found.push_back({"plain", FindPlain});
    return found;
  }();
  return usable;
}

void FindDelimiters(const Delimiters& delimiters, const char* text, size_t n, Positions* found) {
  static const auto find = UsableScans().front().find;
  find(delimiters, text, n, found);
}

}  // namespace mariana
