// NodeTrace: what the processes of one node do, gathered by its agent from shared memory and /proc.
// Reports of other nodes travel to rank 0 as byte strings that only this folder looks into; what
// rank 0 wants of nodes travels back the same way.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mariana_cluster/process/board.h"
#include "mariana_cluster/run_progress.h"
#include "mariana_cluster/trace/trace_board.h"

namespace mariana {

class NodeTrace {
 public:
  // All outlive it. Members of the board are servers, then workers: `servers` of the former.
  NodeTrace(const std::string& node, int servers, const Board* board, const RunProgress* progress,
            TraceBoard* trace);

  // {"node", "now_ns", "processes": [{"name", "pid", "state", "samples", ...}]}: counts since the
  // job began.
  nlohmann::json Processes() const;
  // What was traced since the last call: {"node", "spans": [[process, stage, thread, begin us,
  // us]], "lost"}.
  nlohmann::json Spans();
  // Both, for JobTrace::Put.
  std::string Report();
  // What JobTrace::Order says.
  void Obey(const std::string& order);

 private:
  nlohmann::json Process(int member) const;

  std::string node_;
  int servers_;
  const Board* board_;
  const RunProgress* progress_;
  TraceBoard* trace_;
  std::vector<uint64_t> cursors_;  // by member
};

}  // namespace mariana
