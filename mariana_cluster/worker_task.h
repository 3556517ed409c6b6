// WorkerTask: what a worker trains, be it click rows and their model (click_worker.h) or frames and
// a net (frame_worker.h): it has lanes, each a part of the data with the batch that is taken of it,
// and makes steps on the shared parameters with those batches.
//
// Threading: the worker's own thread; Seconds and what a lane reads with may have others.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "common/data/pipeline.h"
#include "mariana_cluster/block_update.h"
#include "mariana_cluster/commands.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/job_memory.h"

namespace mariana {

// Of a batch; loss and weight are sums over its samples.
struct StepSums {
  int64_t samples = 0;
  double loss = 0, weight = 0;
  int64_t keys = 0;  // distinct ones of tables, or, learnt sample by sample, all
};

// A lane's batches are a pure function of the job's seed, the epoch, and (lane, lanes).
class DataLane {
 public:
  virtual ~DataLane() = default;
  virtual void StartEpoch(int64_t epoch, int64_t first_batch) = 0;
  // Takes the next batch; false at the epoch's end.
  virtual bool Next() = 0;
  // Forward, backward and the update of all parameters with the batch that was taken, as the step
  // of this number (from 0). Throws Error(kDiverged).
  virtual StepSums Train(int64_t step) = 0;
  // Forward and backward, the update left to servers.
  virtual StepSums Collect(int64_t step, BlockUpdate* update) = 0;
  // Batches that are ready, of how many that there is room for.
  struct Queued {
    int64_t now = 0, most = 0;
  };
  virtual Queued queued() const { return {}; }
  // Scores the lane's part of the held-out data, for the `evaluation`-th time, unless `stop`.
  virtual void Score(int64_t evaluation, const std::function<bool()>& stop) = 0;
  // Of the stages that read, over all epochs.
  virtual std::vector<StageSeconds> Seconds() const = 0;
};

class WorkerTask {
 public:
  virtual ~WorkerTask() = default;
  // The job's lane `number` of `lanes`, for which there is this share of the worker's memory for
  // parsed rows.
  virtual std::unique_ptr<DataLane> MakeLane(int number, int lanes, double memory_share) = 0;
  virtual void set_epoch_steps(int64_t steps) = 0;
  // Takes the present dense parameters.
  virtual void Pull() = 0;
  // Waits until all that was pushed to other nodes has been applied there.
  virtual void Drain() {}
  // Sends what was scored and not sent yet.
  virtual void SendScores(ScoresOf of) = 0;
  virtual int64_t bad_rows() const { return 0; }  // malformed, since the job began
};

struct WorkerTaskInput {
  const JobSpec* job;
  int worker;
  JobMemory* memory;
  std::function<void(const Message&)> send;  // to the agent; thread-safe
};
std::unique_ptr<WorkerTask> MakeClickWorker(const WorkerTaskInput& input);
std::unique_ptr<WorkerTask> MakeFrameWorker(const WorkerTaskInput& input);

}  // namespace mariana
