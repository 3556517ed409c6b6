// FrameLearner: what a worker does with a batch of labelled frames: splice, compute, and update the
// shared dense parameters, or collect the gradients for servers. Thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/frame_feeder.h"
#include "mariana_cluster/worker_task.h"

namespace mariana {

// What the agent finds in the training data and every process needs: JobMemory::measured.
struct FrameFacts {
  int64_t dim = 0;                 // of a frame
  std::vector<float> mean, scale;  // [dim] each; empty unless normalised globally

  std::string ToBytes() const;
  static FrameFacts FromBytes(const std::string& bytes);
};

// What workers tell the agent of frames they have scored: the body of a "scores" message.
struct ScoredFrames {
  int64_t lane = 0;
  int64_t frames = 0, correct = 0;
  double loss = 0;  // sum
};

// The net as every process of a job plans it, so that arenas agree. PlanFrameNet throws
// Error(kUsage) for a net that cannot be trained here.
NetOptions FrameNetOptions(const JobSpec& job, int64_t dim, Device* device);
NetPlan PlanFrameNet(const JobSpec& job, int64_t dim, Device* device);

class FrameLearner {
 public:
  // `memory` outlives it.
  FrameLearner(const JobSpec* job, int64_t dim, JobMemory* memory, int worker);

  // As DataLane's; `correct` gets the samples whose largest output was right.
  StepSums Train(int64_t step, const FrameBatch& batch, int64_t* correct);
  StepSums Collect(int64_t step, const FrameBatch& batch, BlockUpdate* update, int64_t* correct);
  // Sums over the batch.
  LossSums Score(const FrameBatch& batch);
  void Pull() { dense_->Pull(net_.get()); }
  void set_epoch_steps(int64_t steps) { epoch_steps_ = steps; }

 private:
  LossSums ForwardBackward(int64_t step, const FrameBatch& batch);
  double Scale() const;

  const JobSpec* job_;
  JobMemory* memory_;
  int worker_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Net> net_;
  std::unique_ptr<WorkerFrames> frames_;
  std::unique_ptr<DenseStep> dense_;
  int64_t epoch_steps_ = 1;
};

}  // namespace mariana
