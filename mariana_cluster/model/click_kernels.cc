#include "mariana_cluster/model/click_kernels.h"

#include "common/base/error.h"

namespace mariana {

namespace avx2 {
ClickKernels MakeClickKernels();
}
namespace avx512 {
ClickKernels MakeClickKernels();
}

const std::vector<ClickKernels>& UsableClickKernels() {
  static const std::vector<ClickKernels> usable = [] {
    std::vector<ClickKernels> found;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      found.push_back(avx512::MakeClickKernels());
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back(avx2::MakeClickKernels());
    }
    if (found.empty()) throw Fail(ExitCode::kUsage, "this CPU lacks AVX2, which Mariana needs");
    return found;
  }();
  return usable;
}

}  // namespace mariana
