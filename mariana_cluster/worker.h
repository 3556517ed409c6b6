// Worker: a process that trains on its share of the data, at the agent's commands (commands.h).
//
// Asynchronous training: a worker takes a lane of the data from its node's queue (lane_queue.h) and
// trains on the lane's batches, each with the next step number, against the shared parameters as
// they are; then it takes the next lane. The board's clocks hold it back where staleness is
// bounded. Deterministic training: there are B lanes; worker w has lanes w, w + W, ... and computes
// a block for each in every round, so that nothing depends on the number of workers. What it
// trains, and what a lane reads, is a WorkerTask.
//
// A worker may be killed at any moment and started again: what is done is counted in shared memory,
// so the next "train" command goes on there.
//
// Threading: one thread runs it; its task may have others that read.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
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
  struct Reading {
    int number = 0;
    std::unique_ptr<DataLane> lane;
    bool taken = false;  // holds a batch, over a pause too
    bool ended = false;
  };

  void Send(const Message& message);
  void CutInto(int lanes);
  Reading* ReadingOf(int lane);
  std::vector<Reading*> OwnReadings();
  void StartEpoch(const TrainCommand& command);
  int64_t StartRounds(const TrainCommand& command);
  bool Advance(Reading* reading);
  void AddTime(WorkerStage stage, int64_t begin_ns);
  void Count(const Reading& reading, int64_t step, int64_t batch, const StepSums& sums);
  bool Pauses() const;
  void AwaitDenseRound();
  bool MayTakeStep();
  bool TakeLane();
  bool TrainLane();
  PausedReport Train(const TrainCommand& command);
  void TrainRounds(const TrainCommand& command);
  void TrainBlock(int64_t round, Reading* reading);
  void Evaluate(int lanes);
  std::string Times() const;

  Member* me_;
  JobSpec job_;
  int index_ = 0, number_ = 0, workers_ = 1;  // on its node; of all nodes' workers
  std::mutex send_mutex_;                     // warnings come from other threads
  JobMemory memory_;
  std::unique_ptr<WorkerTask> task_;
  std::unique_ptr<BlockUpdate> update_;
  int lanes_ = 0;                    // that the epoch is cut into
  std::map<int, Reading> readings_;  // those that it had once, with their rows in memory
  Reading* held_ = nullptr;          // the lane taken from the queue
  int64_t evaluations_ = 0;
  int64_t epoch_ = -1;
  int64_t dense_round_ = 0,
          dense_steps_ = 0;  // several nodes: steps since this exchange of the net
  int64_t rounds_ = 0;       // deterministic: done of the epoch, and in all
  int64_t round_ = 0;
};

}  // namespace mariana
