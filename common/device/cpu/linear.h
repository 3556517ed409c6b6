// The linear layers of the CPU device. Threading: as Device.
#pragma once

#include <memory>

#include "common/device/cpu/kernels.h"
#include "common/device/cpu/memory.h"
#include "common/device/cpu/pool.h"
#include "common/device/device.h"

namespace mariana {

// What the layers share with their device; all of it must outlive them.
struct LinearContext {
  Pool* pool;
  HostMemory* memory;
  Workspace* workspace;
  const Kernels* kernels;
};

// fp32, own products: weights in panels of kPanel outputs, [out / kPanel, in, kPanel].
std::unique_ptr<AffineOp> MakeF32Linear(const LinearSpec& spec, const LinearContext& context);
// bf16 in, bf16 or fp32 out, on oneDNN: weights in plain layout. Error(kUsage) when the CPU cannot.
std::unique_ptr<AffineOp> MakeBf16Linear(const LinearSpec& spec, const LinearContext& context);

}  // namespace mariana
