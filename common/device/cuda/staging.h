// Staging: pinned host memory that data passes on its way to the device, a ring of slots.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "common/device/cuda/context.h"

namespace mariana::cuda {

class Staging {
 public:
  // Copies go through `stream`, in pieces of at most slot_bytes.
  Staging(cudaStream_t stream, int slots, int64_t slot_bytes);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Queued when it returns; src may change then. Waits only for a free slot.
  void Upload(void* dst, const void* src, int64_t bytes);
  // Done when it returns, as is all that was queued before. Of a ring on the compute stream.
  void Download(void* dst, const void* src, int64_t bytes, Context* context);
  int64_t slot_bytes() const { return slot_bytes_; }

 private:
  struct Slot {
    void* memory = nullptr;
    cudaEvent_t free = nullptr;  // what was last copied from here has been
  };
  Slot* Next();

  const cudaStream_t stream_;
  const int64_t slot_bytes_;
  std::vector<Slot> slots_;
  size_t next_ = 0;
};

}  // namespace mariana::cuda
