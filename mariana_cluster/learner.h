// ClickLearner: what a worker does with a batch: fetch the rows it needs from the shared tables,
// compute, and update rows and dense parameters, or collect the updates for servers.
//
// Thread-compatible: a worker's own thread uses it; model() is for its feeds' threads (Prepare).
#pragma once

#include <memory>
#include <vector>

#include "common/device/device.h"
#include "mariana_cluster/block_update.h"
#include "mariana_cluster/dense_step.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/remote_rows.h"

namespace mariana {

// The model as every process of a job builds it, so that arenas agree; `device` outlives it.
std::unique_ptr<ClickModel> MakeClickModel(const JobSpec& job, const RowPlan& plan,
                                           int64_t joined_columns, Device* device);

// Throws Error(kUsage) for a net with batch normalisation.
void RefuseRunningAverages(const NetPlan& net);

// The agent's device. Throws Error(kUsage) for a --device or precision that is not there.
std::unique_ptr<Device> MakeAgentDevice(const std::string& choice, const TrainSpec& train);

class ClickLearner {
 public:
  // `memory` outlives it.
  ClickLearner(const JobSpec* job, const RowPlan& plan, int64_t joined_columns, JobMemory* memory,
               int worker);

  const ClickModel& model() const { return *model_; }
  // Whether Train takes samples one after another: its batches need no Prepare.
  bool by_sample() const { return by_sample_; }

  struct Losses {
    double loss = 0, weight = 0;  // sums over the rows
  };
  // Forward, backward, and the update of all parameters, as the step of this number (from 0).
  // Throws Error(kDiverged).
  Losses Train(int64_t step, ClickBatch* batch);
  // Forward and backward, the update left to servers.
  Losses Collect(int64_t step, ClickBatch* batch, BlockUpdate* update);
  // Fills batch->logits; new keys stay unknown.
  void Score(ClickBatch* batch);
  // Takes the present dense parameters.
  void Pull();

  // ---- rows on other nodes
  // Whether asking for the rows of the next batch before training on the present one saves time: it
  // does over several nodes, where steps need not see each other (bsp).
  bool looks_ahead() const;
  void Request(Missing missing, const ClickBatch& batch);
  void Forget(const ClickBatch* batch);  // it is not going to be trained on
  // Until all that Train has sent is applied.
  void Drain();

  void set_epoch_steps(int64_t steps) { epoch_steps_ = steps; }

 private:
  Losses TrainBySample(int64_t step, ClickBatch* batch);
  void CheckFinite(int64_t step, double loss) const;
  Losses ForwardBackward(int64_t step, Missing missing, ClickBatch* batch);
  void Gather(Missing missing, ClickBatch* batch);
  void Apply(float rate, ClickBatch* batch);
  double DenseScale(const ClickBatch& batch) const;

  const JobSpec* job_;
  JobMemory* memory_;
  int worker_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<ClickModel> model_;
  std::vector<Table> tables_;
  std::unique_ptr<RemoteRows> remote_;  // null: one node has all
  std::unique_ptr<DenseStep> dense_;
  bool by_sample_ = false;
  int64_t epoch_steps_ = 1;
  std::vector<float> gradients_;  // of logits
};

}  // namespace mariana
