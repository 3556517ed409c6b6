// NodeAgent: the agent of a node other than rank 0's: starts and keeps its node's members
// (NodeCrew), passes on what rank 0's job control and they say to each other, and tells several
// times a second how far they are (envelope.h). It decides nothing but what concerns a member's
// life.
//
// When the job is lost elsewhere, the world throws: workers are killed, and servers see their
// channel close.
//
// Threading: one thread runs it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/comm/world.h"
#include "mariana_cluster/control/envelope.h"
#include "mariana_cluster/control/node_crew.h"
#include "mariana_cluster/trace/node_trace.h"

namespace mariana {

class NodeAgent {
 public:
  explicit NodeAgent(World* world) : world_(world) {}
  // Until job control lets it go; the exit code.
  int Run();

 private:
  int RunToEnd();
  void Obey(const Envelope& order);
  void StartServers(const NodeJob& job);
  void StartWorkers(const NodeMemory& memory);
  void Tell(int member, const Message& message);
  NodeState State(bool whole) const;
  void TellState();

  World* const world_;
  JobMemory memory_;
  std::unique_ptr<NodeCrew> crew_;
  std::unique_ptr<NodeTrace> trace_;
  int64_t epoch_ = 0;
  int64_t told_ns_ = 0, traced_ns_ = 0;
  bool told_stop_ = false;
  std::optional<int> code_;  // to end with
};

// The end of the job for the agents of other nodes, their members having ended.
void LetAgentsGo(World* world, int exit_code);

// The memory of a node, apart from its shards and what is measured.
void MakeNodeMemory(Place place, const NodeCrew& crew, JobMemory* memory);

}  // namespace mariana
