// Dribble: bytes that come as from a pipe, in small pieces, their length unknown.
// Threading: one thread.
#pragma once

#include <algorithm>
#include <string_view>

#include "common/data/byte_source.h"

namespace mariana {

class Dribble : public ByteSource {
 public:
  explicit Dribble(std::string_view bytes) : ByteSource(16, 0, -1), left_(bytes) {}

 private:
  size_t Fill(char* to, size_t n) override {
    n = std::min({n, left_.size(), size_t{7}});
    std::copy_n(left_.data(), n, to);
    left_.remove_prefix(n);
    return n;
  }
  std::string_view left_;
};

}  // namespace mariana
