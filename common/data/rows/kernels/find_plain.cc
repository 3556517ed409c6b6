#include "common/data/rows/kernels/find.h"

namespace mariana {

size_t FindPlain(const Delimiters& d, const char* text, size_t n, uint32_t* at, uint32_t* line_end,
                 size_t* lines) {
  const auto masks = [&d](const char* p) {
    BlockMasks m{0, 0};
    for (size_t i = 0; i < kBlock; ++i) {
      const char c = p[i];
      const bool line = c == '\n';
      const bool any = line || c == d.c[0] || c == d.c[1] || c == d.c[2];
      m.any |= uint64_t{any} << i;
      m.line |= uint64_t{line} << i;
    }
    return m;
  };
  return Find(masks, Emit, text, n, at, line_end, lines);
}

}  // namespace mariana
