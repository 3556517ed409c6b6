// Any bytes are either refused with an Error or a file whose tensors cover its data exactly.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/base/error.h"
#include "common/train/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view contents(reinterpret_cast<const char*>(data), size);
  try {
    const auto file = mariana::SafetensorsFile::FromMemory(contents, "fuzz");
    int64_t bytes = 0;
    for (const auto& entry : file.tensors()) bytes += entry.bytes;
    if (bytes > static_cast<int64_t>(size)) std::abort();
    for (const mariana::HostTensor& tensor : file.ReadAll()) {
      if (tensor.bytes.size() !=
          static_cast<size_t>(tensor.shape.elements() * mariana::SizeOf(tensor.dtype))) {
        std::abort();
      }
    }
  } catch (const mariana::Error&) {
  }
  return 0;
}
