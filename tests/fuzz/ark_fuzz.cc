// Kaldi archives and script files from arbitrary bytes: every input is read or refused with an
// Error, in memory bounded by its size (run with -malloc_limit_mb=64).
//
// The first byte chooses what the rest is taken for, and whether its length is known beforehand.
#include <cstdint>
#include <string_view>

#include "common/base/error.h"
#include "common/data/kaldi.h"
#include "tests/fuzz/dribble.h"

namespace mariana {
namespace {

// As ForEachIntVector does.
void ReadOrSkipIntVector(ArkReader* ark) {
  try {
    ark->ReadIntVector();
  } catch (const Error&) {
    if (!ark->SkipLine()) throw;
  }
}

void Consume(uint8_t mode, std::string_view bytes) {
  const auto source = [&]() -> std::unique_ptr<ByteSource> {
    if (mode & 8) return std::make_unique<Dribble>(bytes);
    return OpenMemory(bytes);
  };
  switch (mode & 7) {
    case 0:
      for (ArkReader ark(source(), "fuzz.ark"); ark.NextKey();) ark.ReadMatrix();
      break;
    case 1:
      for (ArkReader ark(source(), "fuzz.ark"); ark.NextKey();) ReadOrSkipIntVector(&ark);
      break;
    case 2:
      for (ArkReader ark(source(), "fuzz.ark"); ark.NextKey();) ark.ReadFloatVector();
      break;
    case 3: ParseScp(source().get(), "fuzz.scp", false); break;
    case 4: ParseScp(source().get(), "fuzz.scp", true); break;
    case 5: ReadMatrixSizeValue(source().get()); break;
    case 6: ReadMatrixValue<double>(source().get()); break;
    case 7: ReadMatrixValue<float>(source().get()); break;
  }
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
