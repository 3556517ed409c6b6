// The CUDA device: NVIDIA GPUs of compute capability 8.0 and later. Products run in cuBLASLt,
// convolutions in cuDNN, everything else in kernels over the formulas that all devices share.
//
// Work is queued on the device's compute stream; a call that returns a value to the host waits for
// it. What comes from other threads (uploads, the exchange) goes through streams of its own.
// Results depend on neither the load nor the number of multiprocessors: the same job on the same
// GPU and libraries gives the same bits.
#pragma once

#include <memory>
#include <string>

#include "common/device/device.h"
#include "common/device/plugin/gpu_order.h"

namespace mariana {

// GPUs that this process can use; 0, and why, where there is none.
int CountCudaDevices(std::string* why);

// Where it is among the first `count` GPUs.
GpuPlace PlaceOfCudaDevice(int ordinal, int count);

// strict: products of fp32 numbers in full precision; else in TF32 (10 bits of mantissa).
std::unique_ptr<Device> MakeCudaDevice(int ordinal, bool strict);

}  // namespace mariana
