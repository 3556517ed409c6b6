// What the operations of a CPU device share with it; all of it must outlive them.
#pragma once

#include "common/device/cpu/kernels.h"
#include "common/device/cpu/memory.h"
#include "common/device/cpu/pool.h"

namespace mariana {

struct CpuContext {
  Pool* pool;
  HostMemory* memory;
  Workspace* workspace;
  const Kernels* kernels;
};

}  // namespace mariana
