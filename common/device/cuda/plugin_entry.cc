// The one symbol that libmariana_cuda.so exports; see plugin/plugin.h.
#include "common/device/cuda/cuda_device.h"
#include "common/device/plugin/plugin.h"

namespace mariana {
namespace {

Device* Make(int ordinal, bool strict) { return MakeCudaDevice(ordinal, strict).release(); }

constexpr CudaPlugin kPlugin{kDeviceInterface, CountCudaDevices, PlaceOfCudaDevice, Make};

}  // namespace
}  // namespace mariana

extern "C" __attribute__((visibility("default"))) const mariana::CudaPlugin* mariana_cuda_plugin() {
  return &mariana::kPlugin;
}
