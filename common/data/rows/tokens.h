// Tokens: the words of a line that are separated by spaces and tabs, each with its colons: what
// libsvm, libffm and VW lines are made of. Walks the delimiters of the scan (space, tab, colon).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/data/rows/row_parser.h"

namespace mariana {

struct Token {
  const char* p = nullptr;
  size_t n = 0;
  size_t colons = 0;
  size_t colon[2] = {0, 0};  // the first two, from p

  // From the end of colon `i` to the next or the end.
  const char* After(size_t i) const { return p + colon[i] + 1; }
  size_t LengthAfter(size_t i) const {
    const size_t end = i + 1 < colons && i == 0 ? colon[1] : n;
    return end - colon[i] - 1;
  }
};

class Tokens {
 public:
  explicit Tokens(const RowLine& line) : line_(line), begin_(line.begin) {}

  // False at the end of the line.
  [[gnu::always_inline]] inline bool Next(Token* token) {
    while (begin_ < line_.end) {
      const uint32_t start = begin_;
      size_t colons = 0;
      uint32_t end;
      for (;; ++next_) {
        end = next_ < line_.count ? line_.at[next_] : line_.end;
        if (end >= line_.end || line_.text[end] != ':') break;
        if (colons < 2) token->colon[colons] = end - start;
        ++colons;
      }
      if (end > line_.end) end = line_.end;
      ++next_;
      begin_ = end + 1;
      if (end == start) continue;  // several spaces
      token->p = line_.text + start;
      token->n = end - start;
      token->colons = colons;
      return true;
    }
    return false;
  }

 private:
  const RowLine& line_;
  uint32_t next_ = 0;  // delimiter
  uint32_t begin_;     // of the next token
};

}  // namespace mariana
