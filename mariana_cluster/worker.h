// Worker: a process that trains on its share of the data, at the agent's commands (commands.h).
//
// Asynchronous training: worker w of W has lane w of W of the data; it takes the next step number,
// trains on its next batch against the shared parameters as they are, and so on; the board's clocks
// hold it back where staleness is bounded. Deterministic training: there are B lanes; worker w has
// lanes w, w + W, ... and computes a block for each in every round, so that nothing depends on the
// number of workers. What it trains, and what a lane reads, is a WorkerTask.
//
// Threading: one thread runs it; its task may have others that read.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "mariana_cluster/worker_task.h"

namespace mariana {

class Worker {
 public:
  // Takes the job from the agent, and its memory.
  explicit Worker(Member* me);
  // Serves commands until the end.
  int Run();

 private:
  // A lane and where it stands.
  struct Place {
    int number = 0;
    std::unique_ptr<DataLane> lane;
    bool taken = false;  // holds a batch, over a pause too
    bool ended = false;
  };

  void ReadJob();
  void MakeLanes();
  void Send(const Message& message);
  int64_t FirstBatch(const TrainCommand& command) const;
  void StartEpoch(const TrainCommand& command);
  bool Advance(Place* place);
  void AddTime(WorkerStage stage, int64_t begin_ns);
  void Count(const Place& place, int64_t step, const StepSums& sums);
  bool MayTakeStep();
  PausedReport Train(const TrainCommand& command);
  void TrainRounds(const TrainCommand& command);
  void TrainBlock(int64_t round, int64_t round_of_epoch, Place* place);
  void Evaluate();
  std::string Times() const;

  Member* me_;
  JobSpec job_;
  int index_ = 0;
  std::mutex send_mutex_;  // warnings come from other threads
  JobMemory memory_;
  std::unique_ptr<WorkerTask> task_;
  std::unique_ptr<BlockUpdate> update_;
  std::vector<Place> lanes_;
  int64_t evaluations_ = 0;
  int64_t batches_ = 0;  // of the epoch, done
};

}  // namespace mariana
