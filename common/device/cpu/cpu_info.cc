// What this CPU can do, and the kernels that follow from it.
#include <sched.h>

#include "common/base/error.h"
#include "common/device/cpu/kernels.h"

namespace mariana {

namespace avx2 {
Kernels Table();
}
namespace avx512 {
Kernels Table();
}

int AvailableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  const int cores = CPU_COUNT(&set);
  return cores > 0 ? cores : 1;
}

bool CpuHasNativeBf16() { return __builtin_cpu_supports("avx512bf16"); }

const std::vector<Kernels>& UsableKernels() {
  static const std::vector<Kernels> usable = [] {
    std::vector<Kernels> found;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      found.push_back(avx512::Table());
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back(avx2::Table());
    }
    if (found.empty()) {
      throw Fail(ExitCode::kUsage, "cpu device: this CPU lacks AVX2 and FMA, which Mariana needs");
    }
    return found;
  }();
  return usable;
}

}  // namespace mariana
