// UploadedBatches: the device stage of a pipeline: one stream of batches in host memory, handed to
// the workers of a job in their devices' memory.
//
// For each device of its own memory a thread uploads the share of its worker of step t + 1 into one
// of two buffers while the worker computes on the other; or, where the worker's net has room for it
// from some point of its backward pass on, into that, from where it is moved when the step begins.
// A device that reads host memory gets the batch itself, without a copy.
//
// Threading: a BatchSource; the threads are its own. A device with memory of its own must allow
// Upload from one thread beside its trainer's, into memory that no queued work uses.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "common/base/clock.h"
#include "common/data/pipeline.h"
#include "common/train/data_parallel.h"
#include "common/train/shared_batches.h"

namespace mariana {

// A batch over all workers, in host memory: of its rows at least those of this rank's workers.
struct HostBatch {
  int64_t rows = 0;                  // over all workers
  int64_t first = 0;                 // the row that `input` and `labels` begin with
  const void* input = nullptr;       // [..., ...] of the workers' compute type
  const void* labels = nullptr;      // [..., ...] of their label type
  std::shared_ptr<const void> keep;  // as long as this lives, so do the two
};

class UploadedBatches : public BatchSource {
 public:
  struct Options {
    int64_t first_step = 0, last_step = 0;  // of the run: [first, last)
    int64_t group = 0;                      // of the workers' net: shares are dealt out in these
    bool always_copy = false;               // even where the device reads host memory
    std::vector<Tensor> room;               // DataParallel::NextInputs; empty ones: two buffers
  };
  // `next` gives the batches of first_step, first_step + 1, ...; all but the last have the workers'
  // batch size. It is called by one thread at a time and may throw; it outlives this, as do the
  // workers' devices.
  UploadedBatches(const DataParallelOptions& workers, const Options& options,
                  std::function<std::shared_ptr<HostBatch>()> next);
  ~UploadedBatches() override;  // at any time that no worker is within a call

  int64_t Rows(int64_t step) override;
  DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) override;
  void HasRoom(int worker, int64_t step) override;
  // The stages "upload" (where there is one) and "train" (this rank's workers: busy between their
  // calls).
  std::vector<StageSeconds> Seconds() const;

 private:
  // What one worker's thread uploads.
  struct Lane {
    explicit Lane(Clock* clock) : changed(clock) {}
    std::mutex mutex;  // of the steps and `error`
    CondVar changed;
    DeviceBatch buffers[2];      // step s is in s % 2, its input with `room` in the first
    Tensor room;                 // of inputs to come; empty: the other buffer is
    int64_t uploaded = 0;        // steps before this one have been uploaded
    int64_t current = 0;         // the step that the worker is at
    int64_t allowed = 0;         // steps up to this one may be uploaded
    int64_t moved = -1;          // the step whose input the worker has moved out of the room
    std::function<void()> used;  // waits for the work that was queued before it
    bool stopping = false;
    std::exception_ptr error;
  };
  void Upload(int local, StageMeter* meter);
  static void Allow(Lane* lane, Device* device, int64_t step);
  Share ShareOf(int local, int64_t rows) const;
  DeviceBatch HostRows(Device* device, const std::shared_ptr<const HostBatch>& batch, int64_t begin,
                       int64_t rows) const;
  template <class F>
  auto Waiting(F f);

  const DataParallelOptions workers_;
  const Options options_;
  Clock* const clock_;
  SharedBatches<HostBatch> batches_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // of this rank's workers; null: reads host memory

  mutable std::mutex mutex_;  // of the workers' times
  int64_t first_call_ns_ = -1, last_return_ns_ = 0, waited_ns_ = 0;
  Pipeline pipeline_;  // last: its threads use all of the above
};

}  // namespace mariana
