// TransferGroup: the workers of one process that share a model. A message is a place where the
// sender leaves the address of rows in its device's memory and the receiver reads them: nothing is
// copied on the way, nobody waits to send. Between devices whose links take time (an emulated
// machine) rows arrive when the group's Carry says so.
//
// Threading: Join before the first use; then each end is used by its worker's trainer thread.
// Abort and bytes() may come from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/comm/failure.h"
#include "common/comm/meeting.h"
#include "common/tensor/transfers.h"

namespace mariana {

// Who sends a message to whom.
struct TransferRoute {
  int from = 0, to = 0;
};

class TransferGroup {
 public:
  // Brings so many bytes from one worker to another, and calls `arrived`, from any thread, once.
  using Carry =
      std::function<void(const TransferRoute& route, int64_t bytes, std::function<void()> arrived)>;
  // `routes` by message number. `clock` null: the real clock. `carry` empty: what is offered is
  // there.
  TransferGroup(int workers, std::vector<TransferRoute> routes, Clock* clock, Carry carry = {});
  ~TransferGroup();

  // Worker w's end; the group owns it.
  Transfers* end(int worker);
  // All workers meet, after the commit of their partitions: every one gets the same sums.
  CommitValues Commit(int worker, const CommitValues& mine);
  // A worker failed: every blocked or later call of any worker throws `error`. The first one wins.
  void Abort(const Error& error);
  // What was taken of each message since the start.
  std::vector<int64_t> bytes() const;

 private:
  class End;
  struct Message {
    TransferRows rows;
    int64_t offered = 0, arrived = 0, taken = 0;  // times
    std::atomic<int64_t> bytes{0};
  };

  void Arrived(int message);

  const std::vector<TransferRoute> routes_;
  const Carry carry_;
  Failure failure_;
  Meeting meeting_;
  std::mutex mutex_;                               // of all messages but their bytes
  std::vector<std::unique_ptr<CondVar>> changed_;  // by worker: what it may wait for
  std::vector<Message> messages_;
  std::vector<std::unique_ptr<End>> ends_;
};

}  // namespace mariana
