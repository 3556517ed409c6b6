// The linear layer of the CPU device. Threading: as Device.
#pragma once

#include <memory>

#include "common/device/cpu/kernels.h"
#include "common/device/cpu/memory.h"
#include "common/device/cpu/pool.h"
#include "common/device/device.h"

namespace mariana {

// All pointers must outlive the operation. Error(kUsage) for a compute type the CPU lacks.
std::unique_ptr<LinearOp> MakeCpuLinear(const LinearSpec& spec, Pool* pool, HostMemory* memory,
                                        const Kernels& kernels);

}  // namespace mariana
