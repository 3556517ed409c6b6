// LaneQueue: the data of an epoch as work for the workers of a node, in shared memory. An epoch is
// cut into lanes, each a row of batches that depends on (seed, epoch, lane, number of lanes) alone.
// A worker takes a lane, trains on its batches, counts each when it is done, ends the lane, and
// takes the next one: who is fast takes more. What is counted here is the position that a
// checkpoint holds, and where a lane goes on when its worker has died: nothing but the batch in
// flight is trained twice, nothing is left out.
//
// A worker takes first the lanes that it had before, as it has their rows in its cache; then
// others' that have not begun, from the worker with the most, which has work meanwhile or is gone.
//
// Over several nodes each has a queue of all lanes, in which those of other nodes are `elsewhere`;
// job control moves lanes that have not begun from node to node (Release, Accept).
//
// Threading: every method in any process and thread; Begin while no worker takes lanes.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

struct LanePosition {
  int64_t batches = 0;  // done of the epoch
  bool ended = false;   // there are no more
};

class LaneQueue {
 public:
  static constexpr int kMaxLanes = 4096;
  static constexpr int kNone = -1;

  static LaneQueue Create(int workers);
  static LaneQueue Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }

  // ---- job control
  // An epoch begins, or goes on from these positions. `here`: this node's lanes, in the order in
  // which workers are dealt them, unless the number of lanes is what it was: then each keeps its
  // worker.
  void Begin(const std::vector<LanePosition>& lanes, const std::vector<int>& here);
  int lanes() const;
  LanePosition position(int lane) const;
  std::vector<LanePosition> positions() const;
  // A worker is gone: its lanes, which go back to the queue.
  std::vector<int> HandBack(int worker);
  int waiting() const;            // lanes that nobody has taken
  int taken() const;              // that workers have
  std::vector<int> here() const;  // that are not elsewhere
  // Gives a lane that has not been taken to another node; kNone when there is none to spare.
  int Release();
  // Takes over a lane of another node.
  void Accept(int lane, int64_t batches);
  // All lanes have ended, those of other nodes too.
  void EndElsewhere();

  // ---- workers
  // A lane to train on from position().batches on; kNone: there is none now.
  int Take(int worker);
  bool MayTake(int worker) const { return Choose(worker) != kNone; }
  void Count(int lane);  // one more batch is done
  void End(int lane);
  bool AllEnded() const;

 private:
  struct Shared;
  struct Lane;
  explicit LaneQueue(SharedMemory memory);
  int Choose(int worker) const;

  SharedMemory memory_;
  Shared* shared_;
};

}  // namespace mariana
