// IDX files from arbitrary bytes: every input is read or refused with an Error, in memory bounded
// by its size (run with -malloc_limit_mb=64). The first byte says whether it is a stream of unknown
// length, as gzip is, and how many extents are allowed.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/base/error.h"
#include "common/data/images/idx.h"
#include "tests/fuzz/dribble.h"

namespace mariana {
namespace {

void Consume(uint8_t mode, std::string_view bytes) {
  const std::unique_ptr<ByteSource> source =
      (mode & 1) != 0 ? std::make_unique<Dribble>(bytes) : OpenMemory(bytes);
  const IdxArray array = ReadIdx(source.get(), "fuzz", (mode & 2) != 0 ? 4 : 1);
  int64_t elements = 1;
  for (int64_t extent : array.extents) elements *= extent;
  if (elements != static_cast<int64_t>(array.bytes.size())) std::abort();
}

}  // namespace
}  // namespace mariana

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    mariana::Consume(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const mariana::Error&) {
  }
  return 0;
}
