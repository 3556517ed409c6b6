// TransferGroup: the workers that share a model. Within a process a message is a place where the
// sender leaves the address of rows in its device's memory and the receiver reads them: nothing is
// copied on the way, nobody waits to send. Between devices whose links take time (an emulated
// machine) rows arrive when the group's Carry says so. Between processes rows are messages of a
// World: packed where they do not lie together, and received as soon as they arrive, into memory
// that the group keeps for them.
//
// Threading: each end is used by its worker's trainer thread. Abort and bytes() may come from any
// thread. What is posted is read until the group is gone: it goes before the workers' memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/comm/failure.h"
#include "common/comm/meeting.h"
#include "common/comm/remote_link.h"
#include "common/comm/world.h"
#include "common/tensor/transfers.h"

namespace mariana {

// Who sends a message to whom, and what one row of it is.
struct TransferRoute {
  int from = 0, to = 0;
  int64_t cols = 0;
  Dtype dtype = Dtype::kF32;
};

struct TransferOptions {
  int workers = 1;
  std::vector<TransferRoute> routes;  // by message number
  Clock* clock = nullptr;             // null: the real clock
  // Brings so many bytes from one worker to another, and calls `arrived`, from any thread, once.
  // Empty: what is offered is there. Within a process.
  std::function<void(const TransferRoute& route, int64_t bytes, std::function<void()> arrived)>
      carry;
  // The processes, and each worker's rank among them, ascending; without them all workers are here.
  // Memory must then be the host's.
  World* world = nullptr;
  std::vector<int> rank_of;
};

class TransferGroup : private WorldListener {
 public:
  explicit TransferGroup(TransferOptions options);
  ~TransferGroup() override;

  // Worker w's end, of this process; the group owns it.
  Transfers* end(int worker);
  // All workers meet, after the commit of their partitions: every one gets the same sums.
  CommitValues Commit(int worker, const CommitValues& mine);
  // A worker failed: every blocked or later call of any worker throws `error`, on every rank. The
  // first one wins.
  void Abort(const Error& error);
  // What was taken of each message, here, since the start.
  std::vector<int64_t> bytes() const;

 private:
  class End;
  // Rows from another process.
  struct Landing {
    char* buffer = nullptr;
    int64_t bytes = 0;
    bool landed = false;
  };
  struct Message {
    TransferRows rows;
    int64_t offered = 0, arrived = 0, taken = 0;   // times, within a process
    int64_t posted = 0;                            // to another: not yet sent from where they lie
    std::deque<std::shared_ptr<Landing>> landing;  // from another: in order
    std::atomic<int64_t> bytes{0};
  };

  bool remote() const { return options_.world != nullptr; }
  bool IsHere(int worker) const {
    return !remote() || options_.rank_of[worker] == options_.world->rank();
  }
  int FirstHere() const;
  int CountHere() const;
  void HasArrived(int message);
  void Post(int message, const TransferRows& rows);
  void Sent(int message, char* buffer);
  bool EndAll(const Error& error);
  // Of the world's threads.
  void Arrived(std::shared_ptr<BulkMessage> message) override;
  void Failed(const Error& error) override;

  const TransferOptions options_;
  Failure failure_;
  Meeting meeting_;
  BufferPool buffers_;
  std::mutex mutex_;                               // of all messages but their bytes
  std::vector<std::unique_ptr<CondVar>> changed_;  // by worker: what it may wait for
  CondVar quiet_;
  int64_t under_way_ = 0;  // posted and not yet sent
  std::vector<Message> messages_;
  std::vector<std::unique_ptr<End>> ends_;  // null: in another process
};

}  // namespace mariana
