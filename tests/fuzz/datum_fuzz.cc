// Caffe's Datum messages from arbitrary bytes: every input is read or refused with an Error, in
// memory bounded by its size (run with -malloc_limit_mb=64).
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/base/error.h"
#include "common/data/images/datum.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mariana;
  try {
    ImageBytes image;
    DatumToImage(ParseDatum({reinterpret_cast<const char*>(data), size}), &image);
    const int64_t pixels = int64_t{image.height} * image.width * image.channels;
    if (image.channels != 0 && pixels != static_cast<int64_t>(image.bytes.size())) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
