// JobMemory: the shared memory of a job, and the messages by which its processes come to it:
//
//   agent -> all        "job": number: which server or worker it is; body: the folder of logs; one
//                       descriptor: the job's YAML
//   server -> agent     "shards": a descriptor for each table's shard, which the server has made
//   agent -> all        "memory", then "table" for each table
//   member -> agent     "ready"
//
// then commands of the agent, each with its answer (commands.h). Free functions and plain values.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mariana_cluster/dense_parameters.h"
#include "mariana_cluster/process/agent.h"
#include "mariana_cluster/process/member.h"
#include "mariana_cluster/process/ordered_updates.h"
#include "mariana_cluster/run_progress.h"
#include "mariana_cluster/table/table.h"
#include "mariana_cluster/trace/trace_board.h"

namespace mariana {

struct JobMemory {
  std::optional<RunProgress> progress;
  std::optional<TraceBoard> trace;
  TraceWriter writer;                                            // a member's own part of it
  std::optional<DenseParameters> dense;                          // where the model has a net
  std::optional<OrderedUpdates> ordered;                         // deterministic: true
  std::vector<std::vector<std::shared_ptr<TableShard>>> shards;  // [table][server]
  std::string measured;  // what the agent found in the data that workers need: bytes

  // For one thread.
  std::vector<Table> MakeTables() const;
};

// What every process starts from.
struct JobStart {
  std::string yaml, log_path;
};
void SendJob(Agent* agent, int member, int64_t index, const JobStart& job);
// Returns the YAML and the index; logs go to the log's folder from here on.
std::string ReceiveJob(Member* me, int* index);

void SendMemory(Agent* agent, int member, const JobMemory& memory);
JobMemory ReceiveMemory(Member* me);

}  // namespace mariana
