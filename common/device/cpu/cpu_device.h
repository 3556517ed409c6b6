// The CPU device over chosen kernels; MakeCpuDevice of device.h takes the best.
// Threading: as Device.
#pragma once

#include <memory>

#include "common/device/cpu/kernels.h"
#include "common/device/device.h"

namespace mariana {

// `kernels` must outlive the device.
std::unique_ptr<Device> MakeCpuDeviceWith(const Kernels& kernels, int index, int threads,
                                          int first_core);

}  // namespace mariana
