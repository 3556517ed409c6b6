#include "common/device/cpu/onednn.h"

#include <dlfcn.h>

namespace mariana {

// The setting belongs to the calling thread; null when oneDNN was built without OpenMP.
void LimitOneDnnToOneThread() {
  using SetThreads = void (*)(int);
  static const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(1);
}

}  // namespace mariana
