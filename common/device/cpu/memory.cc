#include "common/device/cpu/memory.h"

#include <glog/logging.h>
#include <sys/mman.h>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kPage = 4096, kHugePage = 2 << 20;

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

HostMemory::~HostMemory() {
  for (const auto& [p, block] : blocks_) munmap(block.base, block.bytes);
}

void* HostMemory::Allocate(int64_t bytes) {
  CHECK_GE(bytes, 0);
  const bool huge = bytes >= kHugePage;
  // A huge page must start at a multiple of its size: take one more and start inside.
  const int64_t mapped = huge ? RoundUp(bytes, kHugePage) + kHugePage : RoundUp(bytes + 1, kPage);
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw Fail(ExitCode::kIo, "cpu device: out of memory allocating ", bytes, " bytes (",
               bytes >> 20, " MiB); a smaller batch or net needs less");
  }
  void* p = base;
  if (huge) {
    p = reinterpret_cast<void*>(RoundUp(reinterpret_cast<int64_t>(base), kHugePage));
    madvise(p, RoundUp(bytes, kHugePage), MADV_HUGEPAGE);  // advice: failing is fine
  }
  std::lock_guard<std::mutex> lock(mutex_);
  blocks_[p] = {base, mapped};
  return p;
}

void HostMemory::Free(void* p) {
  if (p == nullptr) return;
  std::lock_guard<std::mutex> lock(mutex_);
  const auto it = blocks_.find(p);
  CHECK(it != blocks_.end()) << "cpu device: Free of memory it did not allocate";
  munmap(it->second.base, it->second.bytes);
  blocks_.erase(it);
}

}  // namespace mariana
