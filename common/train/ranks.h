// Ranks: the processes that mpirun started for one job, as its program sees them: rank 0 speaks,
// keeps the run directory and decides; all do the same things in the same order; the failure of
// one, its death included, is everybody's within 10 s (lifeline.h). A program started by itself is
// the one rank of a job, and all of this costs nothing.
//
// What a rank but 0 writes to stdout goes nowhere.
//
// Threading: one thread runs the collectives (all that names `all ranks`); the rest is thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/comm/world.h"
#include "common/train/lifeline.h"

namespace mariana {

class Ranks {
 public:
  // Waits for all ranks, compares their programs, and ties them together. Throws Error(kUsage)
  // naming the ranks that run another program than rank 0.
  static std::unique_ptr<Ranks> Join(const std::string& program);
  // Without a lifeline: the world says who fails.
  explicit Ranks(std::unique_ptr<World> world);
  ~Ranks();

  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }
  bool first() const { return rank() == 0; }
  World* world() const { return world_.get(); }
  // Among the ranks on this machine: its index, and how many there are.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  // Of those, this one included, how many may run on a core that this one may run on.
  int core_sharers() const { return core_sharers_; }
  // Machines, and whether each one's ranks follow each other.
  int machines() const;
  bool neighbours() const;
  // Worker -> machine, from 0, where each rank has `devices` workers; empty unless neighbours().
  std::vector<int> WorkerNodes(int devices) const;

  // ---- all ranks
  // Throws Error(code) on all, naming the ranks whose `value` is not that of rank 0:
  // "rank 1 has <what> <its value>, rank 0 <that of rank 0>: <advice>".
  void CheckSame(const std::string& what, const std::string& value, const std::string& advice,
                 ExitCode code = ExitCode::kUsage);
  // What rank 0 has, on all.
  std::string FromFirst(const std::string& bytes) { return world_->Broadcast(0, bytes); }
  // By rank: on all, or on rank 0 alone (elsewhere nothing).
  std::vector<std::string> Gather(const std::string& mine) { return world_->Gather(mine); }
  std::vector<std::string> GatherToFirst(const std::string& mine) {
    return world_->GatherTo(0, mine);
  }
  bool Any(bool mine);
  void Barrier() { world_->Barrier(); }

  // ---- what this rank does, as others are told when it dies. `phase` lives for ever.
  void set_phase(const char* phase) { phase_.store(phase, std::memory_order_relaxed); }

  // ---- the end
  // Told a failure that leaves no time to unwind, before the process ends (rank 0 only).
  void set_last_words(std::function<void(const Error&)> tell);
  // All ranks: the work is done, whatever the exit code. No rank ends before.
  void Leave();
  // This rank fails with `mine`, or unwinds from another's failure: everybody is told, and rank 0
  // waited for, so that its word is the last. What to say and to exit with; `speak` is false where
  // rank 0 says it. The process must then end by _exit: the others may be anywhere.
  struct Ending {
    Error error;
    bool speak = true;
  };
  Ending Settle(const Error& mine);
  // What a failure of this rank comes from: another rank's, if that is known.
  Error CauseOf(const Error& mine) const;

 private:
  void Compare(const std::string& program);
  void Tie();
  void EndNow(const RankFailure& failure);

  std::string program_;
  std::unique_ptr<World> world_;
  int local_rank_ = 0, local_size_ = 1, core_sharers_ = 1;
  std::vector<int> machine_of_;  // by rank, numbered as they first come
  std::atomic<const char*> phase_{"start"};
  std::mutex mutex_;  // of last_words_
  std::function<void(const Error&)> last_words_;
  std::unique_ptr<Lifeline> lifeline_;  // last: its thread uses the rest
};

// The lines of CheckSame: "" where all values are the first one's. Pure.
std::string Differences(const std::string& what, const std::vector<std::string>& values);

// Whether mpirun (or srun) started this process as one of several.
bool IsOneOfSeveral();

}  // namespace mariana
