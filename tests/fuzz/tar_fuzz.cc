// Tar archives, and their index files, from arbitrary bytes: every input is read or refused with an
// Error, in memory bounded by its size (run with -malloc_limit_mb=64). Checksums of headers are
// made right first, or hardly any input would get past them.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/base/error.h"
#include "common/data/images/tar_index.h"

namespace mariana {
namespace {

constexpr size_t kBlock = 512;

// Every block that could be a header gets the checksum of one.
void MendChecksums(std::string* tar) {
  for (size_t at = 0; at + kBlock <= tar->size(); at += kBlock) {
    char* h = tar->data() + at;
    if (h[0] == 0 || h[0] == '!') continue;  // left as it is: an end, or a wrong sum
    std::memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(h[i]);
    for (int digit = 5; digit >= 0; --digit, sum /= 8) {
      h[148 + digit] = static_cast<char>('0' + sum % 8);
    }
  }
}

void ConsumeTar(std::string tar) {
  MendChecksums(&tar);
  const auto size = static_cast<int64_t>(tar.size());
  const TarIndex index = ScanTar("fuzz.tar", size, [&](int64_t offset, void* to, size_t n) {
    if (offset < 0) std::abort();
    n = offset >= size ? 0 : std::min(n, static_cast<size_t>(size - offset));
    if (n > 0) std::memcpy(to, tar.data() + offset, n);
    return n;
  });
  for (const TarSample& s : index.samples) {
    if (s.offset < 0 || s.size < 0 || s.offset > size - s.size) std::abort();
  }
  TarIndex back;
  if (!DecodeTarIndex(EncodeTarIndex(index, size, 5), size, 5, &back)) std::abort();
  if (back.samples.size() != index.samples.size() || back.problem != index.problem) std::abort();
}

// Blocks of the archive come in short form: a byte says how many zeros follow the next bytes.
std::string Inflate(const uint8_t* data, size_t size) {
  std::string out;
  for (size_t i = 0; i < size && out.size() < 64 * kBlock; ++i) {
    if (data[i] == 0xFF) {
      out.resize((out.size() / kBlock + 1) * kBlock);  // to the next block
    } else if (data[i] == 0xFE) {
      out.resize(out.size() / kBlock * kBlock + 124);  // to the size of a header
    } else if (data[i] == 0xFD) {
      out.resize(std::max(out.size(), out.size() / kBlock * kBlock + 156));  // to its type
    } else {
      out += static_cast<char>(data[i]);
    }
  }
  return out;
}

}  // namespace
}  // namespace mariana

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  mariana::TarIndex index;
  switch (data[0] % 3) {
    case 0: mariana::ConsumeTar(rest); break;
    case 1: mariana::ConsumeTar(mariana::Inflate(data + 1, size - 1)); break;
    default: mariana::DecodeTarIndex(rest, 0, 0, &index); break;
  }
  return 0;
}
