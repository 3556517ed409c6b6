// The convolution of the CPU device, on oneDNN (forward and both gradients), each of whose calls
// runs on one thread: images are split over the pool's threads, and what the threads' images
// contribute to the gradient of the weights is added in order. Weights are in the layout that the
// forward pass likes best; the others' are made from it where they differ.
//
// Threading: as the device. Deterministic for a fixed number of threads.
#pragma once

#include <memory>

#include "common/device/cpu/context.h"
#include "common/device/device.h"

namespace mariana {

// Error(kUsage) when there is no such convolution: bf16 on a CPU without AVX-512.
std::unique_ptr<AffineOp> MakeConvolutionOp(const ConvSpec& spec, const CpuContext& context);

}  // namespace mariana
