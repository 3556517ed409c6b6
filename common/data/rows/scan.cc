#include "common/data/rows/scan.h"

namespace mariana {

size_t FindAvx512(const Delimiters&, const char*, size_t, uint32_t*, uint32_t*, size_t*);
size_t FindAvx2(const Delimiters&, const char*, size_t, uint32_t*, uint32_t*, size_t*);
size_t FindPlain(const Delimiters&, const char*, size_t, uint32_t*, uint32_t*, size_t*);

const std::vector<DelimiterScan>& UsableScans() {
  static const std::vector<DelimiterScan> usable = [] {
    std::vector<DelimiterScan> found;
    const bool bits = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                      __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("avx2") &&
                      __builtin_cpu_supports("fma");
    if (bits && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      found.push_back({"avx512", FindAvx512});
    }
    if (bits) found.push_back({"avx2", FindAvx2});
    found.push_back({"plain", FindPlain});
    return found;
  }();
  return usable;
}

void FindDelimiters(const DelimiterScan& scan, const Delimiters& delimiters, const char* text,
                    size_t n, Positions* found) {
  constexpr size_t kSlack = 64 + 8;
  if (found->at.size() < n + kSlack) found->at.resize(n + kSlack);
  if (found->line_end.size() < n + kSlack) found->line_end.resize(n + kSlack);
  found->at[0] = UINT32_MAX;
  found->count =
      scan.find(delimiters, text, n, found->at.data() + 1, found->line_end.data(), &found->lines);
}

}  // namespace mariana
