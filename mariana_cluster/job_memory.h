// JobMemory: the shared memory of a job, and the messages by which its processes come to it:
//
//   agent -> all        "job": number: which server or worker of its node it is; body: JobStart;
//                       descriptors: the job's YAML; to a server, over several nodes, its
//                       PushLedger; to one that takes the place of a server that was killed, a
//                       shard of each table, too
//   server -> agent     "shards": a descriptor for each table's shard, which the server has made or
//                       was given
//   agent -> all        "memory", "nodes", then "table" for each table
//   member -> agent     "ready"
//
// then commands of the agent, each with its answer (commands.h). Free functions and plain values.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mariana_cluster/control/lane_queue.h"
#include "mariana_cluster/dense_parameters.h"
#include "mariana_cluster/net/dense_mirror.h"
#include "mariana_cluster/net/node_map.h"
#include "mariana_cluster/process/agent.h"
#include "mariana_cluster/process/member.h"
#include "mariana_cluster/process/ordered_updates.h"
#include "mariana_cluster/run_progress.h"
#include "mariana_cluster/table/table.h"
#include "mariana_cluster/trace/trace_board.h"

namespace mariana {

// A node among those of its job.
struct Place {
  int node = 0, nodes = 1;
};

struct JobMemory {
  Place place;
  std::optional<RunProgress> progress;
  std::optional<LaneQueue> lanes;
  std::optional<TraceBoard> trace;
  TraceWriter writer;                                            // a member's own part of it
  std::optional<DenseParameters> dense;                          // where the model has a net
  std::optional<DenseMirror> mirror;                             // likewise, over several nodes
  std::optional<OrderedUpdates> ordered;                         // deterministic: true
  std::vector<std::vector<std::shared_ptr<TableShard>>> shards;  // [table][server of this node]
  std::vector<std::string> endpoints;  // of all nodes' servers, node after node; one node: none
  std::string measured;                // what the agent found in the data that workers need: bytes

  NodeMap Nodes(int servers, int workers) const;  // of each node
  // For one thread.
  std::vector<Table> MakeTables() const;
};

// What every process starts from.
struct JobStart {
  std::string yaml, log_path;
  Place place;
  int first_rank = 1;  // of the logs: that of member 0
};
// Of a server, what outlives it. Descriptors are the receiver's.
struct ServerRemains {
  int ledger = -1;  // over several nodes
  // Of the one before it:
  std::string endpoint;
  std::vector<int> shards;  // by table
};
void SendJob(Agent* agent, int member, int64_t index, const JobStart& job,
             const ServerRemains& remains = {});
struct ReceivedJob {
  std::string yaml, log_path;
  int index = 0;
  Place place;
  ServerRemains remains;
};
// Logs go to the log's folder from here on.
ReceivedJob ReceiveJob(Member* me);

void SendMemory(Agent* agent, int member, const JobMemory& memory);
JobMemory ReceiveMemory(Member* me, Place place);

}  // namespace mariana
