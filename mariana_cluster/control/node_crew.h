// NodeCrew: the servers and workers of one node as its agent sees them: started, handed their
// memory, sent commands, and started again when they are killed. A job goes on without noticing,
// apart from a line that tells:
//
//   worker 1 (pid 4711) was killed by signal 9 (SIGKILL); started again, lane 3 goes on at batch
//   812
//
// What a kill leaves, at whatever instruction. Worker: its lane goes back to the queue at the batch
// that was in flight, which alone is trained once more (lane_queue.h). Of the rows and parameters
// that this batch was being applied to, every float is as before or as after its update. A row
// that was being inserted is there whole or not at all (then at most its place is lost:
// key_index.h). Locks name their holder and are released, or taken over with the work under them
// finished (dense_parameters.h, key_index.h). Server: its shards are in shared memory that the
// agent maps, too; the new one is given them. In deterministic training a server may have applied
// half a round, whose bits nobody can tell: that ends the job.
//
// A command that a lost member had not answered is sent to the new one once more.
//
// Members: servers first, then workers. Threading: the agent's thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mariana_cluster/commands.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/net/push_ledger.h"

namespace mariana {

// Steps first, first + stride, ... below the limit.
struct StepsGrant {
  int64_t first = 0, stride = 1, limit = 0;
};

class NodeCrew {
 public:
  // `outlive`: servers see their channel close when the agent has died, and end by themselves.
  NodeCrew(int servers, int workers, bool outlive);

  // Starts the servers and waits until all have made their shards: [table][server].
  std::vector<std::vector<std::shared_ptr<TableShard>>> StartServers(const JobStart& job);
  const std::vector<std::string>& endpoints() const { return endpoints_; }  // by server
  // Hands the memory over, starts the workers, waits until all are ready. `memory` outlives this.
  void StartWorkers(JobMemory* memory);

  // An epoch begins, or goes on: see LaneQueue::Begin. All clocks stand at 0 then.
  void BeginEpoch(const std::vector<LanePosition>& lanes, const std::vector<int>& here);
  void Grant(const StepsGrant& steps);
  // Sends a command, which the member answers with a message of the kind `answer`; "": with none,
  // and it is not sent again.
  void Command(int member, const Message& message, const std::string& answer);
  // What comes next: a member's message, or "lost": body: the line above. nullopt: nothing did
  // within the time. Throws Error when the job is lost.
  struct Report {
    int member = -1;
    Message message;
  };
  std::optional<Report> Next(int64_t timeout_ms);
  // All end by themselves.
  void End();
  int servers() const { return servers_; }
  int workers() const { return workers_; }
  Agent* agent() { return &agent_; }
  Board* board() { return agent_.board(); }

 private:
  struct Pending {
    Message message;
    std::string answer;
  };
  bool IsServer(int member) const { return member < servers_; }
  int IndexOf(int member) const { return IsServer(member) ? member : member - servers_; }
  void Introduce(int member);
  bool TakeShards(int server, const Message& message);
  Message Revive(int member, const std::string& how);
  std::optional<Report> Hear(int64_t timeout_ms);
  void AwaitFromEach(int count, const char* kind);

  const int servers_, workers_;
  const bool outlive_;
  Agent agent_;
  JobStart job_;
  JobMemory* memory_ = nullptr;                                   // once there is one
  std::vector<std::vector<Pending>> pending_;                     // by member: not answered yet
  std::vector<std::vector<std::shared_ptr<TableShard>>> shards_;  // [server][table]
  std::vector<char> has_shards_;
  std::vector<PushLedger> ledgers_;  // by server, over several nodes
  std::vector<std::string> endpoints_;
  std::vector<Report> told_;  // while members were started
  bool started_ = false;
};

}  // namespace mariana
