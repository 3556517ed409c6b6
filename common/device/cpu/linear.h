// The linear layers of the CPU device. Threading: as Device.
#pragma once

#include <memory>

#include "common/device/cpu/context.h"
#include "common/device/device.h"

namespace mariana {

// fp32, own products: weights in panels of kPanel outputs, [out / kPanel, in, kPanel].
std::unique_ptr<AffineOp> MakeF32Linear(const LinearSpec& spec, const CpuContext& context);
// Few outputs, every type that the others have: plain layout.
constexpr int64_t kNarrowOutputs = 4;
std::unique_ptr<AffineOp> MakeNarrowLinear(const LinearSpec& spec, const CpuContext& context);
// bf16 in, bf16 or fp32 out, on oneDNN: weights in plain layout. Error(kUsage) when the CPU cannot.
std::unique_ptr<AffineOp> MakeBf16Linear(const LinearSpec& spec, const CpuContext& context);

}  // namespace mariana
