// The op objects of the emulated device (emulated_device.h). Threading: as Device.
#pragma once

#include <memory>

#include "common/device/device.h"
#include "common/device/emulated/stream.h"

namespace mariana {

// Throw Error(kUsage) where the device lacks the type of arithmetic.
std::unique_ptr<AffineOp> MakeEmulatedLinear(const LinearSpec& spec, const DeviceSpec& device,
                                             Streams* streams);
std::unique_ptr<AffineOp> MakeEmulatedConvolution(const ConvSpec& spec, const DeviceSpec& device,
                                                  Streams* streams);
std::unique_ptr<PoolOp> MakeEmulatedPool(const PoolSpec& spec, Streams* streams);

}  // namespace mariana
