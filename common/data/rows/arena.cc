#include "common/data/rows/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr size_t kHugePage = size_t{2} << 20, kRegion = size_t{64} << 20, kAlign = 64;

uintptr_t RoundUp(uintptr_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

Arena::~Arena() {
  for (const Region& r : regions_) munmap(r.mapped, r.bytes);
}

char* Arena::Allocate(size_t bytes) {
  bytes = RoundUp(bytes, kAlign);
  if (bytes > left_) {
    // Takes memory only where it is written.
    const size_t region = RoundUp(std::max(bytes, kRegion), kHugePage);
    void* mapped = mmap(nullptr, region + kHugePage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
      throw Fail(ExitCode::kIo, "out of memory for ", region >> 20,
                 " MiB of cached samples; give the cache less memory");
    }
    regions_.push_back({mapped, region + kHugePage});
    next_ = reinterpret_cast<char*>(RoundUp(reinterpret_cast<uintptr_t>(mapped), kHugePage));
    left_ = region;
    madvise(next_, region, MADV_HUGEPAGE);  // advice: failing is fine
  }
  char* p = next_;
  next_ += bytes;
  left_ -= bytes;
  return p;
}

}  // namespace mariana
