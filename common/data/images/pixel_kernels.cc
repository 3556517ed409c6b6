#include "common/data/images/pixel_kernels.h"

#include <cstring>
#include <vector>

#include "common/base/error.h"

namespace mariana {

namespace avx2 {
PixelKernels ImageKernels();
}
namespace avx512 {
PixelKernels ImageKernels();
}

namespace {

// The best first.
const std::vector<PixelKernels>& Usable() {
  static const std::vector<PixelKernels> usable = [] {
    std::vector<PixelKernels> found;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      found.push_back(avx512::ImageKernels());
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back(avx2::ImageKernels());
    }
    return found;
  }();
  return usable;
}

}  // namespace

const PixelKernels& BestPixelKernels() {
  if (Usable().empty()) {
    throw Fail(ExitCode::kUsage, "images: this CPU lacks AVX2 and FMA, which Mariana needs");
  }
  return Usable().front();
}

const PixelKernels* FindPixelKernels(const char* isa) {
  for (const PixelKernels& k : Usable()) {
    if (std::strcmp(k.isa, isa) == 0) return &k;
  }
  return nullptr;
}

}  // namespace mariana
