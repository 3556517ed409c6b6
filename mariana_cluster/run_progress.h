// RunProgress: how far the workers of a job are, in shared memory: the count of steps, which also
// says who may take the next one; samples, losses and time of each worker; where lanes of data end.
//
// A step is one batch of one worker, in every mode. Steps are numbered as they begin; none begins
// at the limit or beyond, so the agent can have all workers stop at an exact number of steps.
//
// Threading: any method in any process and thread. A worker's own counters are written by it alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

// Where the time of a worker's own thread goes.
enum class WorkerStage : int {
  kData,
  kWait,
  kLearn,
  kGather,
  kForward,
  kBackward,
  kApply,
  kDense,
  kCount
};
const char* Name(WorkerStage stage);

class RunProgress {
 public:
  static RunProgress Create(int workers, int lanes);
  static RunProgress Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }

  // ---- steps
  // The number of the step that the caller may take now, from 0; false at the limit.
  bool TakeStep(int64_t* step);
  int64_t steps() const;  // taken so far
  // The next steps have the numbers `next`, `next` + `stride`, ... (which are below the limit):
  // over several nodes each numbers its own.
  void SetSteps(int64_t next, int64_t stride = 1);
  // How many began since the step of this number: of others, all nodes taken to be as fast as this.
  int64_t BegunSince(int64_t step) const;
  bool AtLimit() const;
  void SetLimit(int64_t limit);

  // ---- a worker's counters
  struct Totals {
    int64_t steps = 0, samples = 0;
    double loss = 0, weight = 0;  // sums over samples
    double seconds[static_cast<int>(WorkerStage::kCount)] = {};
    void Add(const Totals& other);
  };
  // A step is done.
  void Count(int worker, int64_t samples, double loss, double weight);
  void AddNs(int worker, WorkerStage stage, int64_t ns);
  Totals worker(int worker) const;
  Totals totals() const;  // of all workers; whole steps but for one that is being counted

  // ---- lanes of data, in deterministic training
  void SetLaneEnd(int lane, int64_t round);  // it has no batch from this round of the epoch on
  void ClearLaneEnds();
  bool LanesEnded(int64_t round) const;  // none has a batch in it

 private:
  struct Shared;
  explicit RunProgress(SharedMemory memory);

  SharedMemory memory_;
  Shared* shared_;
};

}  // namespace mariana
