// The two ends of a link between workers of different processes, over bulk messages of a World.
// A range travels from the sender's arena, through a buffer only when the wire type is narrower;
// it comes in through a buffer and is added or unpacked on the receiver's progress thread, or as
// fp32 values straight into the arena. Where an arena is in a device's memory it always goes
// through a buffer of the host's, which the device copies to and from.
//
// Threading: as Link says; Arrived is for threads of the world.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "common/comm/link.h"
#include "common/comm/world.h"

namespace mariana {

// Numbers for (link, lane): the same on both sides, from the same wiring and buckets.
struct Channels {
  int buckets = 0, slices = 0;
  int per_link() const { return 2 * buckets * slices; }
  int OfLane(const LaneKey& lane) const {
    return (static_cast<int>(lane.phase) * buckets + lane.bucket) * slices + lane.slice;
  }
  LaneKey LaneOf(int channel) const {
    const int in_link = channel % per_link(), row = in_link / slices;
    return {static_cast<Phase>(row / buckets), row % buckets, in_link % slices};
  }
};

struct RemoteEnd {
  World* world;
  int peer_rank;
  int link;  // index in LinksOf
  Channels channels;
  std::array<Wire, 2> wires;  // by phase
};

// Host memory, handed out again and again. Thread-safe.
class BufferPool {
 public:
  // `device`: what copies to and from it, if not the host; the same each time.
  char* Take(int64_t bytes, Device* device = nullptr);
  void Give(char* buffer);

 private:
  struct Buffer {
    std::shared_ptr<char> memory;
    int64_t bytes = 0;
  };
  std::mutex mutex_;
  std::map<char*, Buffer> buffers_;
  std::vector<char*> free_;
};

class OutgoingLink : public Link {
 public:
  OutgoingLink(const LinkEnds& ends, const RemoteEnd& end);
  ~OutgoingLink() override { OutgoingLink::Drain(); }
  void Publish(const LaneKey& lane, Range range) override;
  void Receive(const LaneKey& lane, const Step& step, std::function<void()> done) override;
  void Drain() override;  // returns too when the world has failed
  LinkBytes bytes() const override;
  void Wake();  // the world failed

 private:
  void Sent(char* buffer);

  const LinkEnds ends_;
  const RemoteEnd end_;
  BufferPool buffers_;
  std::array<std::atomic<int64_t>, 2> bytes_{};
  std::mutex mutex_;
  CondVar quiet_;
  int pending_ = 0;  // messages posted and not yet sent
};

class IncomingLink : public Link {
 public:
  IncomingLink(const LinkEnds& ends, const RemoteEnd& end) : ends_(ends), end_(end) {}
  void Arrived(std::shared_ptr<BulkMessage> message);
  void Publish(const LaneKey& lane, Range range) override;
  void Receive(const LaneKey& lane, const Step& step, std::function<void()> done) override;
  void Land(const LaneKey& lane, const Step& step) override;
  LinkBytes bytes() const override;

 private:
  const LinkEnds ends_;
  const RemoteEnd end_;
  BufferPool buffers_;
  std::array<std::atomic<int64_t>, 2> bytes_{};
  std::map<int, char*> landing_;  // lane -> its buffer; the progress thread's
  std::mutex mutex_;
  std::map<int, std::deque<std::shared_ptr<BulkMessage>>> messages_;  // lane -> not yet received
};

}  // namespace mariana
