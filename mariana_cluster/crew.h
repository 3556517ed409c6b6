// Crew: the servers and workers of a job as the job control (rank 0's agent) sees them: started,
// handed their memory, asked for something all at once, and answered one by one, while warnings,
// stop requests and the passing of time are passed on. A member that is killed is started again
// (control/node_crew.h), so often and no more.
//
// Over several nodes those of its own node it has itself, the others through their agents
// (control/node_agent.h). Servers and workers are numbered through, node after node. Job control
// deals lanes and steps to nodes, moves lanes from nodes that have many left to those whose workers
// have none, and knows when none is left. One node costs no more than it did alone.
//
// Threading: the agent's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/comm/world.h"
#include "mariana_cluster/commands.h"
#include "mariana_cluster/control/envelope.h"
#include "mariana_cluster/control/node_crew.h"
#include "mariana_cluster/job_memory.h"

namespace mariana {

class Crew {
 public:
  // What comes while members are waited for.
  struct Listener {
    std::function<void(const std::string&)> warning;
    std::function<void()> tick;                               // several times a second
    std::function<void(const Message&)> scores;               // pieces of an evaluation
    std::function<void(int server, const Message&)> saved;    // of a snapshot
    std::function<void(int node, const std::string&)> trace;  // NodeTrace::Report of another node
    std::function<std::string()> order;                       // JobTrace::Order
  };
  struct Options {
    int servers = 1, workers = 1;  // of each node
    int64_t restarts = 100;        // of members, in all; one more ends the job with kLostWorkers
    bool outlive = false;          // servers: see NodeCrew
  };
  Crew(const Options& options, World* world, Listener listener);

  // Starts the servers; what those of this node made: [table][server].
  std::vector<std::vector<std::shared_ptr<TableShard>>> StartServers(const JobStart& job);
  std::vector<std::string> endpoints() const;  // of all servers
  // Hands the memory over, starts the workers, waits until all are ready. Other nodes start with
  // the same dense parameters.
  void StartWorkers(JobMemory* memory);

  // ---- training
  // An epoch begins, or goes on from these positions.
  void BeginEpoch(const std::vector<LanePosition>& lanes);
  // Numbers steps from `next` on and deals those below `limit` out to nodes.
  void GrantSteps(int64_t next, int64_t limit);
  // Has workers that train pause at the batch that they are in: what was asked of them then comes
  // to its end. They go on with the next command to train.
  void PauseAtBatch();
  // While workers are paused: what other nodes know is here.
  void Sync();
  // Likewise: all nodes have the same dense parameters.
  void FlushDense();
  std::vector<LanePosition> positions() const;
  RunProgress::Totals totals() const;

  // Sends message(w) to each and waits for an answer of this kind from each, in their order.
  std::vector<Message> AskWorkers(const std::function<Message(int)>& message, const char* answer);
  std::vector<Message> AskServers(const Message& message, const char* answer);
  // Both at once.
  struct Answers {
    std::vector<Message> workers, servers;
  };
  Answers AskAll(const std::function<Message(int)>& to_worker, const char* worker_answer,
                 const Message& to_server, const char* server_answer);
  // Sends a command and does not wait: the listener gets the answer.
  void TellServer(int server, const Message& message, const char* answer);
  // Passes on what comes, until done().
  void WaitUntil(const std::function<bool()>& done);
  // All end by themselves.
  void End();
  // The job is lost: workers are killed, and servers that outlive this process are let go.
  void Abandon() { node_.agent()->Abandon(); }

  int nodes() const { return static_cast<int>(far_.size()) + 1; }
  int servers() const { return nodes() * node_.servers(); }
  int workers() const { return nodes() * node_.workers(); }
  NodeCrew* own() { return &node_; }
  int64_t losses() const { return losses_; }  // of members, so far
  Board* board() { return node_.board(); }
  bool stopping() { return board()->stop_signal() != 0; }
  double CpuSeconds();
  int64_t MemoryBytes();  // of all nodes; of others as of the last Sync

 private:
  // Another node, as its agent last told.
  struct Far {
    std::vector<std::string> endpoints;
    NodeState state;
    int64_t memory_bytes = 0;
    bool fresh = false;           // `state` is newer than the last lane that it was given
    bool asked_for_lane = false;  // "give" is under way
    int lane_for = 0;             // then: the node that the lane is for
  };
  struct Address {
    int node = 0, member = 0;
  };
  struct Heard {
    int node = 0, member = 0;
    Message message;
  };
  struct Question {
    Address to;
    std::string answer;
  };
  Address ServerAt(int server) const;
  Address WorkerAt(int worker) const;
  // `answer`: the kind that it will have; "": none.
  void Command(const Address& to, const Message& message, const char* answer);
  void TellAgents(const Message& message);
  void TellAgent(int node, const Message& message);
  std::optional<Heard> Hear(int64_t timeout_ms);
  // Deals with what answers nothing; false for an answer.
  bool Handle(Heard* heard);
  bool HandleAgent(int node, const Message& message);
  std::vector<Message> WaitFor(const std::vector<Question>& questions);
  void AwaitAgents(const char* kind);
  void Listen();
  void Lost(const std::string& how);
  void Control();
  void MoveLanes();
  void MoveLane(int lane, int to);
  void TakeState(int node, const std::string& body, bool whole);

  const Options options_;
  World* const world_;
  Listener listener_;
  NodeCrew node_;
  JobMemory* memory_ = nullptr;
  std::vector<Far> far_;  // by node - 1
  std::vector<int> lane_node_;
  std::vector<LanePosition> positions_;  // of lanes of other nodes
  std::vector<int> agents_said_;         // how often the awaited kind came
  std::string awaited_of_agents_;
  int64_t epoch_ = 0, flushes_ = 0;
  int64_t looked_ns_ = 0;
  bool training_ = false, over_ = false, told_stop_ = false, own_turn_ = false;
  int64_t losses_ = 0;
};

}  // namespace mariana
