// The loop over blocks of 64 bytes that every way to find delimiters shares. Included by
// kernels/*.cc alone, each compiled for its instruction set: nothing here may be a function that
// the linker could share between them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/data/rows/scan.h"

namespace mariana {

constexpr size_t kBlock = 64;
constexpr size_t kAhead = 16 * kBlock;  // fetched: what comes after a slice, too

namespace {

// Of a block of 64 bytes: bit i is byte i. `line` is a part of `any`.
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
      // Past the last bit anything is written: what follows overwrites it.
      next[i] = base + static_cast<uint32_t>(__builtin_ctzll(mask | (uint64_t{1} << 63)));
      mask &= mask - 1;
    }
    next += 8;
  }
  return out + count;
}

// masks(p) gives the BlockMasks of the 64 bytes at p; emit is as Emit.
template <class Masks, class Emitter>
[[gnu::always_inline]] inline size_t Find(const Masks& masks, const Emitter& emit, const char* text,
                                          size_t n, uint32_t* at, uint32_t* line_end,
                                          size_t* lines) {
  uint32_t* next = at;
  uint32_t* next_line = line_end;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    __builtin_prefetch(text + begin + kAhead);
    BlockMasks m = masks(text + begin);
    if (n - begin < kBlock) {
      const uint64_t inside = (uint64_t{1} << (n - begin)) - 1;
      m.any &= inside;
      m.line &= inside;
    }
    const auto end_line = [&](uint64_t line) {
      const uint64_t before = m.any & ((line & -line) - 1);
      *next_line =
          static_cast<uint32_t>(next - at) + static_cast<uint32_t>(__builtin_popcountll(before));
      next_line += line != 0;
      return line & (line - 1);
    };
    // Whether a line ends in the block nobody can predict; that two do is rare.
    uint64_t line = end_line(m.line);
    while (line != 0) line = end_line(line);
    next = emit(m.any, static_cast<uint32_t>(begin), next);
  }
  *lines = static_cast<size_t>(next_line - line_end);
  return static_cast<size_t>(next - at);
}

}  // namespace
}  // namespace mariana
