// One stream of batches of frames, shared between the workers of a job.
#pragma once

#include <memory>
#include <vector>

#include "common/train/frame_feeder.h"
#include "common/train/shared_batches.h"

namespace mariana {

// The training batches of one epoch for the workers of this rank, `frames`, from number
// `first_worker` on. Step s of the run is batch s - first_step of the stream. Every rank reads all
// frames: those of a batch come from all utterances of a block. Thread-safe.
class FrameSource : public BatchSource {
 public:
  FrameSource(const UtteranceSource* corpus, const FrameStreamOptions& options, int64_t first_step,
              std::vector<std::unique_ptr<WorkerFrames>>* frames, int first_worker);

  int64_t steps_in_epoch() const { return stream_.steps(); }
  int64_t Rows(int64_t step) override;
  DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) override;
  std::vector<StageSeconds> Seconds() const { return stream_.Seconds(); }

 private:
  FrameStream stream_;
  SharedBatches<FrameBatch> batches_;
  std::vector<std::unique_ptr<WorkerFrames>>* frames_;
  const int first_worker_;
};

}  // namespace mariana
