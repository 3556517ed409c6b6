// Host memory for a CPU device: 64-byte aligned, zeroed; large blocks are backed by transparent
// huge pages, so that matrices of tens of megabytes do not thrash the TLB.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace mariana {

class HostMemory {
 public:
  HostMemory() = default;
  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  void* Allocate(int64_t bytes);  // Error(kIo) naming the size when there is no memory
  void Free(void* p);             // null is fine

 private:
  struct Block {
    void* base;
    int64_t bytes;
  };
  std::mutex mutex_;
  std::map<void*, Block> blocks_;  // by the address given out
};

}  // namespace mariana
