// DenseExchange: a node's part in keeping the dense parameters of all nodes alike (dense_owner.h
// says how): a thread that goes through the slices that other nodes own, again and again, at most
// so many bytes a second, several under way at a time. Lives in the process of the node's first
// server.
//
// Threading: Flush and bytes from any thread. Its own thread waits in zmq_poll.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "mariana_cluster/net/dense_mirror.h"
#include "mariana_cluster/net/node_map.h"
#include "mariana_cluster/net/server_link.h"
#include "mariana_cluster/net/wire_values.h"

namespace mariana {

class DenseExchange {
 public:
  struct Options {
    WireType wire = WireType::kBf16;
    std::string token;
    double bytes_per_second = 8e6;  // sent and received
    double patience_seconds = 120;
    std::function<void(const Error&)> failed;  // as ShardService's
  };
  // All outlive it; `mirror` has been started (DenseMirror::Start), or is of a former process.
  DenseExchange(const NodeMap& map, const Options& options, DenseParameters* dense,
                DenseMirror* mirror);
  ~DenseExchange();

  // While no worker of any node trains; called on all nodes with the same number, which rises from
  // 1. When it returns on all, all have the same values, and none has taken any of its next
  // exchange's: those go on when Flush has returned.
  void Flush(uint32_t number);
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // sent and received

 private:
  struct Question {
    int64_t slice;
    int link;
    uint64_t request;
  };
  void Run();
  void Resume();
  bool Round();
  void FlushAll(uint32_t number);
  void Ask(int64_t slice, bool last_word, uint32_t flush);
  FrameHeader HeaderFor(FrameKind kind, int64_t slice) const;
  void Send(const FrameHeader& header, Packet packet);
  void TakeAnswers();
  void TakeAnswer(const Question& question);
  void Pause(double seconds);
  bool Wanted() const;

  const NodeMap map_;
  const Options options_;
  DenseParameters* dense_;
  DenseMirror* mirror_;
  LinkGroup links_;
  std::vector<int> link_of_;  // by node; -1: this one
  std::vector<float> difference_;
  std::vector<Question> asked_;
  bool moved_ = false;  // since the round began
  std::atomic<int64_t> bytes_{0};
  std::mutex mutex_;
  CondVar changed_;
  bool stop_ = false, failed_ = false;
  uint32_t flush_wanted_ = 0, flushed_ = 0;
  std::thread thread_;
};

}  // namespace mariana
