#include "mariana_cluster/table/linear_kernels.h"

#include "mariana_cluster/table/row_kernels.h"

namespace mariana {

namespace avx2 {
LinearKernels MakeLinearKernels();
}
namespace avx512 {
LinearKernels MakeLinearKernels();
}

bool LearnsBySample(const RowLayout& layout) {
  return layout.parts == 1 && layout.width == 1 && layout.part[0].type == RowOptimizer::kFtrl &&
         layout.header_bytes != 4;
}

const std::vector<LinearKernels>& UsableLinearKernels() {
  static const std::vector<LinearKernels> usable = [] {
    std::vector<LinearKernels> found;
    for (const LinearKernels& k : {avx512::MakeLinearKernels(), avx2::MakeLinearKernels()}) {
      for (const RowKernels& rows : UsableRowKernels()) {
        if (std::string(rows.isa) == k.isa) found.push_back(k);
      }
    }
    return found;
  }();
  return usable;
}

}  // namespace mariana
