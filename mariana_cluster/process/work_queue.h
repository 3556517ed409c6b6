// WorkQueue: the data of an epoch dealt out to workers piece by piece: whoever is free takes the
// next, so a slow one takes fewer. A piece is lent until it is done; a member that dies gives its
// pieces back to the front. Lives in the process that controls the job; workers ask over their
// channels (NextWork).
//
// Thread-compatible.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "mariana_cluster/process/agent.h"
#include "mariana_cluster/process/member.h"

namespace mariana {

struct WorkItem {
  int64_t id = 0;
  std::string what;  // the trainer's own words: epoch, shard, range
};

class WorkQueue {
 public:
  void Add(WorkItem item) { waiting_.push_back(std::move(item)); }
  // The next piece, lent to `member`; nullopt when none waits.
  std::optional<WorkItem> Take(int member);
  void Done(int member, int64_t id);  // CHECKs that it was lent to it
  int Return(int member);             // how many pieces it had
  // No more is dealt out (a stop request); what is lent is finished.
  void Clear() { waiting_.clear(); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t lent() const { return static_cast<int64_t>(lent_.size()); }
  bool finished() const { return waiting_.empty() && lent_.empty(); }

  // Answers a worker's request for work; false when the event is something else.
  bool Serve(Agent* agent, const Agent::Event& event);

 private:
  struct Loan {
    int member;
    WorkItem item;
  };
  std::deque<WorkItem> waiting_;
  std::map<int64_t, Loan> lent_;  // by id
};

// By a worker: tells that `done` (if any) is finished and takes the next piece; nullopt: no more.
std::optional<WorkItem> NextWork(Member* me, const std::optional<WorkItem>& done);

}  // namespace mariana
