// Board: what the processes of a job on one node know of each other, in shared memory: who takes
// part, how far each is (its clock), whether the job is asked to stop, whether somebody died.
//
// Clocks bound staleness. A worker calls Advance after each step. Before step c it waits until the
// slowest has done c - k steps: k = 0 is bulk-synchronous (BSP), a larger k stale-synchronous (SSP,
// Ho et al., NIPS 2013), no wait at all asynchronous. Who has no more work calls Leave and holds
// nobody back.
//
// All waiting between processes is Wait(): it ends when its condition holds, or throws when a
// job is lost (the agent says so) or when nothing came of it for `patience`. A member whose agent
// dies is killed by the kernel (agent.h), so no wait outlives the job. A member that is killed
// leaves at most its wake-up call unmade and itself counted as a waiter: waiters look again by
// themselves, and a call too many costs a microsecond.
//
// Threading: every method may be called in any process and thread at once. Memory order: what a
// member wrote before Advance or Announce is seen by who waited for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

constexpr int kMaxMembers = 128;

class Board {
 public:
  static Board Create(int members);
  static Board Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }
  int members() const;

  // ---- by the agent
  void SetMember(int member, const std::string& name, int pid);
  // The job is lost; whoever waits, or waits later, throws Error(kLostWorkers) with this text.
  void Fail(const std::string& why);

  // ---- by anyone
  std::string name(int member) const;
  int pid(int member) const;               // 0: it has not started yet
  int starts(int member) const;            // how often SetMember was called
  std::string Describe(int member) const;  // "worker 1 (pid 4711)"
  // Async-signal-safe. The first signal counts.
  void RequestStop(int signal);
  int stop_signal() const;  // 0: none asked

  // A sign of life of the member's process, several times a second (member.h).
  void Beat(int member);
  uint32_t beats(int member) const;

  int64_t clock(int member) const;
  void Advance(int member);
  void SetClock(int member, int64_t clock);  // where a resumed run begins
  void Leave(int member);
  bool HasLeft(int member) const;
  // The least clock of members [first, first + count).
  int64_t Slowest(int first, int count) const;
  // Waits until Slowest is at least `clock`.
  void WaitForSlowest(int first, int count, int64_t clock);

  // Waits until done(), which others make true and Announce.
  void Wait(const std::function<bool()>& done, const std::string& for_what);
  void Announce();
  // Waits likewise, however long it takes, and looks only every few milliseconds: costs those that
  // announce nothing.
  void Poll(const std::function<bool()>& done);
  void set_patience_seconds(double seconds) { patience_seconds_ = seconds; }

 private:
  struct Shared;
  explicit Board(SharedMemory memory);
  void ThrowIfFailed() const;

  SharedMemory memory_;
  Shared* shared_;
  double patience_seconds_ = 3600;
};

}  // namespace mariana
