// JobTrace: what is known of a running job, on rank 0: its own node's processes, the last report of
// every other node, how far training is, and what happened. Whoever asks for it does so through
// the StatusServer.
//
// Threading: thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "mariana_cluster/trace/node_trace.h"

namespace mariana {

class JobTrace {
 public:
  // What the trainer knows; "phase": what it does ("train", "evaluate", "save" ...).
  struct Facts {
    std::string name, run_dir, phase = "start";
    int64_t epoch = 0, epochs = 0, step = 0;
    int64_t samples = 0, epoch_samples = 0;  // of the epoch; about how many it has
  };
  explicit JobTrace(Facts facts);

  // ---- by the agent of rank 0
  void SetPhase(const std::string& phase);
  void Update(const std::function<void(Facts*)>& change);
  void Happened(const std::string& what);  // a line for people, with the time
  // Own processes: from Watch until Unwatch, which comes before what it uses is gone.
  void Watch(std::unique_ptr<NodeTrace> own);
  void Unwatch();
  // Another node's NodeTrace::Report, several times a second.
  void Put(int node, const std::string& report);
  // For all other nodes' NodeTrace::Obey: "" where nothing is new since the last call.
  std::string Order();

  // ---- by the status server
  // "nodes": NodeTrace::Processes() of each, with its "number", this one's 0.
  nlohmann::json Status();
  // Spans are kept for so long from now on.
  void Trace(double seconds);
  // All that came in since the last call.
  nlohmann::json TakeSpans();

 private:
  void KeepSpans(int node, nlohmann::json spans);

  std::mutex mutex_;
  Facts facts_;
  const double begin_seconds_ = Clock::Real()->NowSeconds();
  std::deque<nlohmann::json> events_;  // the last ones
  int64_t events_seen_ = 0;
  std::unique_ptr<NodeTrace> own_;
  std::map<int, nlohmann::json> others_;            // by node: without spans
  nlohmann::json spans_ = nlohmann::json::array();  // of nodes, not taken yet
  std::string order_;
};

}  // namespace mariana
