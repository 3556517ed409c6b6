// Lifeline: how the ranks of a job know that the others live, apart from MPI: a TCP connection
// from each rank to rank 0. It ends with its process, whatever killed that, within milliseconds
// (MPI tells nothing then, and its launcher kills the survivors before a timeout could pass). Twice
// a second each end says what phase it is in; an end that is silent for too long is stuck: stopped,
// swapped out, or its machine is gone. Stop requests and failures travel along, so that one
// failure, the first that rank 0 hears of, is everybody's.
//
// Threading: Open, Reach and Start in this order, by one thread; the rest from any thread. The
// callbacks run on the lifeline's own thread, which waits in poll: sockets know no Clock.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"

namespace mariana {

// What ended a job of several ranks.
struct RankFailure {
  int rank = 0;
  std::string phase;
  ExitCode code = ExitCode::kInternal;
  std::string message;
  // "rank 2, backward: message"; a usage error speaks for itself.
  Error ToError() const;
};

class Lifeline {
 public:
  struct Options {
    int rank = 0, ranks = 1;
    double beat_seconds = 0.5;
    double silence_seconds = 6;  // after which an end is stuck
    double grace_seconds =
        1.5;                    // from a failure to `on_overdue`; ten times that while rank 0 lives
    double start_seconds = 30;  // for all to connect
    std::function<std::string()> phase;                  // what this rank does now
    std::function<void(const RankFailure&)> on_failure;  // once, at the first that becomes known
    std::function<void(const RankFailure&)> on_overdue;  // the process has not ended since
  };
  explicit Lifeline(Options options);
  ~Lifeline();  // as Leave
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  // Rank 0: listens; gives what the others need for Reach. `one_machine`: on loopback only.
  std::string Open(bool one_machine);
  // The others: connects to rank 0. Throws Error(kLostWorkers) when it cannot.
  void Reach(const std::string& address);
  // First waits until all have connected; throws Error(kLostWorkers), on rank 0 naming who has not.
  void Start();

  // This rank fails: tells all, unless a failure is known already. Returns the one that counts,
  // once its word is under way.
  RankFailure Fail(const RankFailure& mine);
  std::optional<RankFailure> failure() const;
  // After a failure: until rank 0's process has ended (at most `seconds`). At once on rank 0.
  void AwaitFirstRank(double seconds);
  // All ranks are done: connections may end from here on.
  void Leave();

 private:
  struct Peer {
    int rank = 0;
    int fd = -1;
    std::string host, phase = "start";
    std::string unread;  // bytes of a line not whole yet
    double silent_seconds = 0;
    bool gone = false;  // left, or lost
  };
  void Accept(int fd);
  void Loop();
  void Beat();
  void Read(Peer* peer);
  void Take(Peer* peer, const std::string& line);
  void Lost(Peer* peer, const std::string& how);
  void Known(const RankFailure& failure);
  void SendAll(const std::string& line);

  const Options options_;
  int listener_ = -1;
  int wake_ = -1;  // eventfd
  std::string token_;
  std::vector<Peer> peers_;  // rank 0: all others; else rank 0. The thread's, once it runs

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable first_rank_gone_, sent_;
  std::optional<RankFailure> failure_;
  std::string outbox_;  // lines for all peers
  bool leaving_ = false, first_gone_ = false;
  std::thread thread_;
};

}  // namespace mariana
