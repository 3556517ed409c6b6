// Meeting: where all workers of a process come together once a step. The last to arrive works
// out the result, in worker order whoever was last, and all leave with the same bits.
//
// A result stays untouched until everybody has arrived again, so workers read it unlocked.
// Every call throws the group's failure once there is one. Thread-safe, one thread per worker.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "common/comm/exchange.h"
#include "common/comm/failure.h"

namespace mariana {

class Meeting {
 public:
  Meeting(Clock* clock, int n, const Failure* failure);
  CommitValues Commit(int worker, const CommitValues& mine);
  void Gather(int worker, const float* mine, int64_t n, std::vector<float>* all);
  // The failure was set: wakes everyone.
  void Wake();

 private:
  enum class Kind { kNone, kCommit, kGather };
  // Enters (under the lock) what this worker brings, waits for the others; the last concludes.
  template <class Enter, class Conclude>
  void Meet(Kind kind, Enter enter, Conclude conclude);

  const int n_;
  const Failure* failure_;
  std::mutex mutex_;
  CondVar changed_;
  Kind kind_ = Kind::kNone;  // of the meeting that gathers now
  int arrived_ = 0;
  int64_t held_ = 0;  // meetings concluded
  std::vector<CommitValues> values_;
  CommitValues total_;
  std::vector<std::pair<const float*, int64_t>> parts_;  // valid while their owners wait
  std::vector<float> gathered_;
};

}  // namespace mariana
