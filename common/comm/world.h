// World: the processes (ranks) of one job. Byte strings by tag, collectives over them, bulk
// messages for the links of the exchange, and one failure that reaches everybody.
//
// Three worlds: one of a single rank (always there), ranks that are threads of one process (tests,
// emulated nodes), and Open MPI (common/comm/mpi). What they share is here: an inbox, the
// collectives, and the failure.
//
// Threading: thread-safe. Collectives of one tag are called by all ranks in the same order, by one
// thread at a time; threads that run collectives at once use different tags. Receive waits through
// the clock. Once the world has failed, on whatever rank, every call and every wait throws that
// failure, everywhere.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/comm/failure.h"

namespace mariana {

// A bulk message that has arrived, or begun to: its sender, what the sender called it, its size.
class BulkMessage {
 public:
  BulkMessage(int from, int channel, int64_t bytes)
      : from_(from), channel_(channel), bytes_(bytes) {}
  virtual ~BulkMessage() = default;
  int from() const { return from_; }
  int channel() const { return channel_; }
  int64_t bytes() const { return bytes_; }
  // Puts it into `into` (host memory) and calls `done`, from any thread, possibly before
  // returning. Once.
  virtual void Take(void* into, std::function<void()> done) = 0;

 private:
  const int from_, channel_;
  const int64_t bytes_;
};

// Whoever takes the bulk messages of a rank, and hears of its failure, perhaps more than once.
// Called on threads of the world; must not wait.
class WorldListener {
 public:
  virtual ~WorldListener() = default;
  // Messages of one sender and channel come in the order in which they were posted.
  virtual void Arrived(std::shared_ptr<BulkMessage> message) = 0;
  virtual void Failed(const Error& error) = 0;
};

class World {
 public:
  // Tags of byte strings: [0, kTags).
  static constexpr int kTags = 4096;
  // Tags with a fixed use; from kFirstPartTag on they are those of WorldParts.
  enum Tag : int {
    kControlTag = 0,
    kMeetingTag = 1,
    kLeaveTag = 2,
    kAgentsTag = 3,
    kFirstFreeTag = 8,
    kFirstPartTag = 64
  };

  virtual ~World() = default;
  int rank() const { return rank_; }
  int size() const { return size_; }
  // This rank's machine: its host name, or what it was told (MARIANA_NODE).
  const std::string& node() const { return node_; }
  static std::string ThisNode();
  Clock* clock() const { return clock_; }

  // ---- byte strings. Send returns at once. A rank may send to itself.
  void Send(int to, int tag, std::string bytes);
  virtual std::string Receive(int from, int tag);
  std::optional<std::string> TryReceive(int from, int tag);  // nullopt: there is none yet

  // ---- collectives
  // What every rank brings, by rank: on all, or on `root` alone (elsewhere nothing).
  std::vector<std::string> Gather(const std::string& mine, int tag = kControlTag);
  std::vector<std::string> GatherTo(int root, const std::string& mine, int tag = kControlTag);
  std::string Broadcast(int root, const std::string& bytes, int tag = kControlTag);
  // Added in the order of ranks; the same bits on all. All bring as many.
  std::vector<double> Sum(const std::vector<double>& mine, int tag = kControlTag);
  void Barrier(int tag = kControlTag) { Gather("", tag); }

  // ---- bulk messages
  // `data` (host memory) must not change until `sent` is called, from any thread.
  // channel: [0, channels()).
  virtual void Post(int to, int channel, const void* data, int64_t bytes,
                    std::function<void()> sent) = 0;
  virtual int64_t channels() const = 0;
  // One listener at a time (WorldParts lets several share a world). Messages wait until there is
  // one. Once Listen(nullptr) has returned, the former is not called any more; and if the world has
  // failed, nothing is read from or written to memory that was posted or taken into.
  void Listen(WorldListener* listener);

  // ---- failure
  // The first failure that reaches a rank is the one it throws from then on. Fail: on this rank,
  // at once, whatever state the others are in; false when it had failed before. Abort: on all.
  bool Fail(const Error& error);
  virtual void Abort(const Error& error);
  void ThrowIfFailed() const { failure_.ThrowIfSet(); }
  bool failed() const { return failure_.set(); }

 protected:
  World(int rank, int size, std::string node, Clock* clock);
  virtual void SendTo(int to, int tag, std::string bytes) = 0;  // to another rank
  // Whether somebody waits for a byte string.
  bool awaited() const { return awaited_.load(std::memory_order_relaxed) > 0; }
  // Returns when no thread of a failed world touches anybody's memory any more.
  virtual void Quiesce() {}
  // For what comes in, from any thread.
  void Deliver(int from, int tag, std::string bytes);
  void Arrive(std::shared_ptr<BulkMessage> message);
  void set_place(int rank, int size, std::string node);  // before anybody else knows the world

 private:
  friend class WorldParts;
  static constexpr int kAbortTag = kTags - 1;

  int rank_, size_;
  std::string node_;
  Clock* const clock_;
  Failure failure_;
  std::atomic<int> awaited_{0};
  std::mutex mutex_;  // guards the inbox
  CondVar changed_;
  std::map<std::pair<int, int>, std::deque<std::string>> inbox_;  // (from, tag)
  std::mutex listener_mutex_;  // held while the listener is called
  WorldListener* listener_ = nullptr;
  std::deque<std::shared_ptr<BulkMessage>> waiting_;  // for a listener
};

// Rank 0 of 1.
std::unique_ptr<World> MakeLocalWorld(Clock* clock = nullptr);

// `nodes.size()` ranks of one process, rank r on nodes[r]. They are destroyed when none is in use.
std::vector<std::unique_ptr<World>> MakeThreadWorlds(const std::vector<std::string>& nodes,
                                                     Clock* clock = nullptr);

}  // namespace mariana
