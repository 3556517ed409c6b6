#include "mariana_cluster/table/row_kernels.h"

#include "common/base/error.h"

namespace mariana {

namespace avx2 {
RowKernels MakeRowKernels();
}
namespace avx512 {
RowKernels MakeRowKernels();
}

const std::vector<RowKernels>& UsableRowKernels() {
  static const std::vector<RowKernels> usable = [] {
    std::vector<RowKernels> found;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      found.push_back(avx512::MakeRowKernels());
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back(avx2::MakeRowKernels());
    }
    if (found.empty()) throw Fail(ExitCode::kUsage, "this CPU lacks AVX2, which Mariana needs");
    return found;
  }();
  return usable;
}

}  // namespace mariana
