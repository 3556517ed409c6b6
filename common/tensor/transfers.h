// Transfers: what workers that share one model say to each other while they compute: rows of
// activations forward, rows of gradients back. A worker's operations call it; how the rows get
// there (shared memory, a peer's memory, a message between processes) is behind it.
//
// Messages are numbered by the schedule (nn/split_plan.h), the same for all workers: each has one
// sender and one receiver, who use it in turns. The sender offers rows of its own memory at once,
// and does not write there until they are taken; the receiver waits where it needs them.
//
// Threading: one object a worker, used by its trainer's thread. Every call throws Error once a
// worker of the group has failed.
#pragma once

#include <cstdint>

#include "common/base/shape.h"

namespace mariana {

// A matrix within a larger one.
struct TransferRows {
  const void* data = nullptr;  // device memory
  int64_t stride = 0;          // elements from one row to the next
  int64_t rows = 0, cols = 0;
  Dtype dtype = Dtype::kF32;
};

class Transfers {
 public:
  virtual ~Transfers() = default;
  // Returns at once. What was offered before under this number has been taken.
  virtual void Offer(int message, const TransferRows& rows) = 0;
  // Waits until the rows offered are taken; returns at once if there are none.
  virtual void AwaitTaken(int message) = 0;
  // Waits for an offer, in memory that the worker's device reads, valid until Take.
  virtual TransferRows Receive(int message) = 0;
  virtual void Take(int message) = 0;
};

}  // namespace mariana
