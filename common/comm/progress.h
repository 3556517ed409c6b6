// ProgressEngine: a worker's engine of the exchange. Its one thread carries out whichever received
// step is ready, of any lane, and sleeps when none is; it never spins, and never waits for one
// particular step, so no order of calls by the workers can block it.
//
// Steps of one bucket take turns lane by lane (both directions of a chain move together); of two
// buckets, the one started first goes first. Publishing is done at once by whoever made the range
// final: the progress thread after a step, the trainer's thread for a lane's source. A thread is
// woken only when a step has become ready for it, or the trainer's wait is over.
//
// Bookkeeping comes before publishing: by the time that a neighbour can see a range, the step
// that made it counts as done here. Hence when Commit has let all through, every lane of every
// worker is at rest, although each waited only for its own slices.
//
// Threading: Start and the waits are the trainer thread's; Arrived and Stop may come from any.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "common/comm/link.h"

namespace mariana {

class ProgressEngine : public Arrivals {
 public:
  // schedule[phase][bucket]: from MakeSchedule.
  using Schedule = std::vector<std::vector<std::vector<Lane>>>;
  ProgressEngine(int worker, int workers, Clock* clock, Schedule schedule);
  ~ProgressEngine() override;

  // The links from and to its neighbours; before Run.
  void ConnectFrom(int peer, Link* incoming) { incoming_[peer] = incoming; }
  void ConnectTo(int peer, Link* outgoing) { outgoing_[peer] = outgoing; }
  // Starts the thread. `on_values` as in ExchangeGroup::Join; what it throws ends in `failed`.
  void Run(std::function<void(int64_t begin, int64_t n)> on_values,
           std::function<void(const std::exception&)> failed);
  // Ends the thread after the step it is in, and wakes the waits. Steps stay where they are.
  void Stop();
  void Join();

  void Start(Phase phase, int bucket);
  bool AtRest(Phase phase, int bucket);
  // Until this worker's slices of all buckets started in kCollect hold their sums, or Stop.
  void WaitOwned() { Wait(&unowned_); }
  // Until all lanes of the bucket are at their end, or Stop.
  void WaitBucket(Phase phase, int bucket) { Wait(&StateOf(phase, bucket)->unfinished); }

  // Waits until nothing of this worker's arenas is on its way out any more (Link::Drain).
  void Drain();

  void Arrived(const LaneKey& lane, int from) override;

 private:
  enum class State : uint8_t {
    kResting,  // not started, or at its end
    kWaiting,  // its next step receives, and the range may not be published yet
    kMoving,   // the link is at it
    kLanded,   // the link is done; the thread has to take it up
  };
  struct Source {
    int peer;
    int64_t published;  // ranges, not yet received
  };
  struct Steps {  // [begin, end) of a lane's
    size_t begin, end;
  };
  struct BucketState;
  struct LaneState {
    LaneKey key;
    const std::vector<Step>* steps;
    BucketState* bucket;
    State state = State::kResting;
    size_t next = 0;  // step
    std::vector<Source> sources;
  };
  struct BucketState {
    std::vector<LaneState> lanes;
    size_t turn = 0;     // the lane to look at first
    int unfinished = 0;  // lanes
  };

  BucketState* StateOf(Phase phase, int bucket);
  static Source* SourceOf(LaneState* lane, int peer);
  bool Ready(LaneState* lane) const;
  LaneState* FindReady();
  void Loop();
  void Receive(LaneState* lane, std::unique_lock<std::mutex>* lock);
  void Land(LaneState* lane, std::unique_lock<std::mutex>* lock);
  Steps Advance(LaneState* lane);
  void Publish(const LaneState& lane, Steps steps);
  void Wait(const int* count);

  const int worker_;
  Clock* const clock_;
  const Schedule schedule_;
  std::vector<Link*> incoming_, outgoing_;  // by peer
  std::function<void(int64_t, int64_t)> on_values_;
  std::function<void(const std::exception&)> failed_;

  std::mutex mutex_;  // guards what follows
  CondVar work_, done_;
  std::vector<std::vector<BucketState>> buckets_;  // [phase][bucket]
  std::vector<BucketState*> active_;               // unfinished, in the order they were started
  std::vector<int> under_way_;                     // by peer: ranges that a link is at
  int unowned_ = 0;  // collecting buckets whose slice of this worker has not its sum yet
  const int* awaited_ = nullptr;  // the count that the trainer waits for to be 0
  bool stopped_ = false;
  std::optional<ClockedThread> thread_;
};

}  // namespace mariana
