// Envelope: a message between the agents of a job's nodes, over World byte strings (kAgentsTag).
// Rank 0's agent is the job control (Crew); those of other ranks obey it (NodeAgent), and pass
// on what concerns their members.
//
//   control -> agent    "job" NodeJob         -> "servers": the node's endpoints
//                       "memory" NodeMemory   -> "ready"
//                       "begin" NodeEpoch     an epoch begins, or goes on
//                       "steps" StepsGrant    which steps the node may take
//                       "lane": number        a lane for this node
//                       "give"                -> "given": number: a lane that it had, or -1
//                       "over"                no lane is left anywhere
//                       "state"               -> "state", with all that costs time to find out
//                       "trace": body         for NodeTrace::Obey
//                       "stop": number        a signal asks the job to stop
//                       "end"                 members end
//                       "leave": number       the agent ends with this code
//   control -> member   a command, with the kind of its answer
//   agent -> control    "state" NodeState, several times a second; "trace": NodeTrace::Report;
//                       "stop": number
//   member -> control   what it says; "lost": a line (node_crew.h)
// Plain values.
#pragma once

#include <string>
#include <vector>

#include "mariana_cluster/control/lane_queue.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/process/channel.h"
#include "mariana_cluster/run_progress.h"

namespace mariana {

struct Envelope {
  static constexpr int kAgent = -1;
  int member = kAgent;  // of the node; or its agent
  Message message;      // without descriptors
  std::string answer;   // of a command
  std::string ToBytes() const;
  static Envelope FromBytes(const std::string& bytes);
};

// Strings, one after another, with their lengths.
std::string Packed(const std::vector<std::string>& strings);
std::vector<std::string> Unpacked(const std::string& bytes);

struct NodeJob {
  JobStart start;
  int servers = 1, workers = 1;
  bool outlive = false;  // NodeCrew's
  std::string ToBytes() const;
  static NodeJob FromBytes(const std::string& bytes);
};

// What JobMemory is made from on a node: the dense parameters with their optimizer's state, as they
// begin, and what it cannot know.
struct NodeMemory {
  int64_t dense_elements = 0;
  int dense_slots = 0;
  std::string dense;  // the arenas
  std::string measured;
  std::vector<std::string> endpoints;
  std::string ToBytes() const;
  static NodeMemory FromBytes(const std::string& bytes);
};

struct NodeEpoch {
  int64_t number = 0;  // of "begin" messages
  std::vector<LanePosition> lanes;
  std::vector<int> here;
  std::string ToBytes() const;
  static NodeEpoch FromBytes(const std::string& bytes);
};

struct NodeState {
  int64_t epoch = 0;  // NodeEpoch::number
  RunProgress::Totals totals;
  double cpu_seconds = 0;
  int64_t memory_bytes = 0;  // where it was asked for
  int waiting = 0;           // lanes
  int idle = 0;              // workers without one
  struct Lane {
    int lane = 0;
    LanePosition position;
  };
  std::vector<Lane> lanes;  // of this node
  std::string ToBytes() const;
  static NodeState FromBytes(const std::string& bytes);
};

}  // namespace mariana
