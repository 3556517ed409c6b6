// Meeting: where all workers come together once a step. The last of a process to arrive fetches
// what the workers of other processes bring and works out the result, in worker order whoever was
// last, and all leave with the same bits.
//
// A result stays untouched until everybody has arrived again, so workers read it unlocked.
// Every call throws the group's failure once there is one. Thread-safe, one thread per worker.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "common/comm/exchange.h"
#include "common/comm/failure.h"
#include "common/comm/world.h"

namespace mariana {

class Meeting {
 public:
  // Workers [first, first + local) of `workers` are here; `world` may be null if they are all.
  Meeting(Clock* clock, int workers, int first, int local, World* world, const Failure* failure);
  CommitValues Commit(int worker, const CommitValues& mine);
  void Gather(int worker, const float* mine, int64_t n, std::vector<float>* all);
  // The failure was set: wakes everyone.
  void Wake();

 private:
  enum class Kind : char { kNone, kCommit, kGather };
  // Enters what this worker brings and waits for the others; the last concludes.
  void Meet(Kind kind, int worker, std::string bytes);
  void FetchOthers(Kind kind);
  void Conclude(Kind kind);

  const int first_, local_;
  World* const world_;
  const Failure* failure_;
  std::mutex mutex_;
  CondVar changed_;
  Kind kind_ = Kind::kNone;  // of the meeting that gathers now
  int arrived_ = 0;
  int64_t held_ = 0;                // meetings concluded
  std::vector<std::string> parts_;  // by worker
  CommitValues total_;
  std::vector<float> gathered_;
};

}  // namespace mariana
