#include "common/device/cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace mariana::cuda {

Staging::Staging(cudaStream_t stream, int slots, int64_t slot_bytes)
    : stream_(stream), slot_bytes_(slot_bytes), slots_(static_cast<size_t>(slots)) {
  for (Slot& slot : slots_) {
    Check(cudaHostAlloc(&slot.memory, static_cast<size_t>(slot_bytes), cudaHostAllocDefault),
          "cudaHostAlloc of pinned memory");
    Check(cudaEventCreateWithFlags(&slot.free, cudaEventDisableTiming), "cudaEventCreate");
  }
}

Staging::~Staging() {
  cudaStreamSynchronize(stream_);
  for (const Slot& slot : slots_) {
    cudaEventDestroy(slot.free);
    cudaFreeHost(slot.memory);
  }
}

Staging::Slot* Staging::Next() {
  Slot* slot = &slots_[next_++ % slots_.size()];
  // At once for an event that was never recorded.
  Check(cudaEventSynchronize(slot->free), "waiting for an upload");
  return slot;
}

void Staging::Upload(void* dst, const void* src, int64_t bytes) {
  for (int64_t done = 0; done < bytes; done += slot_bytes_) {
    const auto n = static_cast<size_t>(std::min(slot_bytes_, bytes - done));
    Slot* slot = Next();
    std::memcpy(slot->memory, static_cast<const char*>(src) + done, n);
    Check(cudaMemcpyAsync(static_cast<char*>(dst) + done, slot->memory, n, cudaMemcpyHostToDevice,
                          stream_),
          "upload");
    Check(cudaEventRecord(slot->free, stream_), "cudaEventRecord");
  }
}

void Staging::Download(void* dst, const void* src, int64_t bytes, Context* context) {
  for (int64_t done = 0; done < bytes; done += slot_bytes_) {
    const auto n = static_cast<size_t>(std::min(slot_bytes_, bytes - done));
    Slot* slot = Next();
    Check(cudaMemcpyAsync(slot->memory, static_cast<const char*>(src) + done, n,
                          cudaMemcpyDeviceToHost, stream_),
          "download");
    context->Synchronize();
    std::memcpy(static_cast<char*>(dst) + done, slot->memory, n);
  }
}

}  // namespace mariana::cuda
