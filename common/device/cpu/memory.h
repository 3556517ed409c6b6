// HostMemory, for a CPU device: 64-byte aligned, zeroed; large blocks are backed by transparent
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

// Scratch memory that the operations of a device use in turn: no operation finds there what it
// left. Each reserves at construction what it will need at most.
// Threading: as the device.
class Workspace {
 public:
  explicit Workspace(HostMemory* memory) : memory_(memory) {}
  void Reserve(int64_t floats) {
    if (floats <= floats_) return;
    memory_->Free(data_);
    data_ = nullptr;
    floats_ = 0;
    data_ = static_cast<float*>(memory_->Allocate(floats * sizeof(float)));
    floats_ = floats;
  }
  float* data() const { return data_; }

 private:
  HostMemory* memory_;
  float* data_ = nullptr;  // freed with the memory
  int64_t floats_ = 0;
};

}  // namespace mariana
