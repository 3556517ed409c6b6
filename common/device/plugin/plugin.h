// The CUDA device as a plug-in: libmariana_cuda.so, opened at run time, so that the programs start
// on machines without CUDA libraries. It is looked for at $MARIANA_CUDA_PLUGIN, beside the program,
// in ../lib of that, and where Bazel puts it.
//
// Plug-in and program must be built from the same device.h: both carry its hash.
// Free functions; thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/device/device.h"
#include "common/device/plugin/device_interface.h"
#include "common/device/plugin/gpu_order.h"

namespace mariana {

// What the plug-in's entry, `mariana_cuda_plugin`, returns.
struct CudaPlugin {
  const char* interface;                      // kDeviceInterface of its build
  int (*count)(std::string* why);             // usable GPUs; 0 and why
  GpuPlace (*place)(int ordinal, int count);  // of one of the first `count`
  Device* (*make)(int ordinal, bool strict);  // the caller's; may throw Error
};
constexpr char kCudaEntry[] = "mariana_cuda_plugin";

// The plug-in, or null and why not in one line. Once opened it stays.
const CudaPlugin* OpenCudaPlugin(std::string* why);

// GPUs that --device=cuda can use; 0, and why in one line, where there are none.
int UsableCudaDevices(std::string* why);

// The first `count` usable GPUs, where they are. Throws Error as OpenCudaDevice.
std::vector<GpuPlace> PlacesOfCudaDevices(int count);

// A GPU as a device. Throws Error(kUsage) with the one line why there is none.
std::unique_ptr<Device> OpenCudaDevice(int ordinal, bool strict);

}  // namespace mariana
