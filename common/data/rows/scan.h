// FindDelimiters: where in a piece of text the bytes are that separate what is in it. Every text
// format is parsed from these positions, so that no format's code looks for them byte by byte.
// Vector code for AVX-512 and AVX2, chosen at run time, plain code elsewhere; all give the same.
// Thread-safe.
//
// Source: the bit masks of simdjson's first stage (Langdale, Lemire, "Parsing gigabytes of JSON
// per second", VLDB J. 28, 2019).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mariana {

// Which bytes separate: up to three of them, and '\n' always. Unused ones repeat '\n'.
struct Delimiters {
  char c[3] = {'\n', '\n', '\n'};
};

// Positions of delimiters, and which of them end lines. Reuse it: it keeps its memory.
struct Positions {
  std::vector<uint32_t> at;        // a slot in front, then offsets of delimiters, ascending
  std::vector<uint32_t> line_end;  // which of the delimiters end lines
  size_t count = 0, lines = 0;     // how many of them are valid

  // delimiters()[-1] + 1 is the beginning of the text.
  uint32_t* delimiters() { return at.data() + 1; }
};

// Returns how many delimiters were found. `text` must have 64 readable bytes behind it, at and
// line_end room for n + 64 values; n is below 2^31.
using DelimiterFinder = size_t (*)(const Delimiters& delimiters, const char* text, size_t n,
                                   uint32_t* at, uint32_t* line_end, size_t* lines);

// The ways this CPU can do it, the best first, each by its name.
struct DelimiterScan {
  const char* name;
  DelimiterFinder find;
};
const std::vector<DelimiterScan>& UsableScans();

void FindDelimiters(const DelimiterScan& scan, const Delimiters& delimiters, const char* text,
                    size_t n, Positions* found);

}  // namespace mariana
