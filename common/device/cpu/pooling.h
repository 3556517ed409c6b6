// Pooling of the CPU device, an image a task. Threading: as the device.
#pragma once

#include <memory>

#include "common/device/cpu/context.h"
#include "common/device/device.h"

namespace mariana {

// Error(kUsage) when a max window has more than 256 pixels, for its choice is saved in a byte.
std::unique_ptr<PoolOp> MakePoolOp(const PoolSpec& spec, const CpuContext& context);

}  // namespace mariana
