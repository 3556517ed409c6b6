// Link: how a range of the arenas gets from one worker to its neighbour. The progress engine
// knows nothing more: whether memory is shared, a peer copy is queued, a message is sent or time
// merely passes is the link's business.
//
// A range goes over in two calls: the sender publishes it (from any of its threads), which ends
// in Arrived at the receiver's engine; then the receiver's progress thread receives it. Ranges of
// a lane are published in the order of the schedule. A link between processes has one end in each,
// and one object on either side.
#pragma once

#include <functional>
#include <memory>

#include "common/comm/schedule.h"
#include "common/device/device.h"

namespace mariana {

// A worker's end of the arenas. Written once, before the worker's first Publish.
struct Arenas {
  float* grads = nullptr;
  float* values = nullptr;
  Device* device = nullptr;  // whose memory they are in; null: the host's
};

struct LaneKey {
  Phase phase;
  int bucket;
  int slice;
};

// The receiver's side of Publish (its progress engine). Thread-safe.
class Arrivals {
 public:
  virtual ~Arrivals() = default;
  // The next range of the lane can be received from `from`.
  virtual void Arrived(const LaneKey& lane, int from) = 0;
};

// What a link joins. What is in another process is null.
struct LinkEnds {
  int from = 0, to = 0;              // workers
  const Arenas* sender = nullptr;    // of `from`
  const Arenas* receiver = nullptr;  // of `to`
  Arrivals* arrivals = nullptr;      // the engine of `to`
};

class Link {
 public:
  virtual ~Link() = default;
  // The sender will not write `range` again before the next Commit (gradients) or the Commit
  // after (values).
  virtual void Publish(const LaneKey& lane, Range range) = 0;
  // Carries out `step` (kAdd or kCopy) into the receiver's arenas and calls `done` once: from any
  // thread, possibly before returning. Several may be under way.
  virtual void Receive(const LaneKey& lane, const Step& step, std::function<void()> done) = 0;
  // The last part of `step`, on the receiver's progress thread after `done`: adding from where the
  // range was put meanwhile.
  virtual void Land(const LaneKey& /*lane*/, const Step& /*step*/) {}
  // Waits until nothing that was published is read from the sender's arenas any more. Called by
  // the sender's trainer thread when the receiver is known to have it all.
  virtual void Drain() {}
  // Since the start. Thread-safe.
  virtual LinkBytes bytes() const = 0;
};

}  // namespace mariana
