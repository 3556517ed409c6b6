// Crew: the servers and workers of a job as the job control (rank 0's agent) sees them: started,
// handed their memory, asked for something all at once, and answered one by one, while warnings,
// stop requests and the passing of time are passed on. A member that is killed is started again
// (control/node_crew.h), so often and no more.
//
// Threading: the agent's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mariana_cluster/commands.h"
#include "mariana_cluster/control/node_crew.h"
#include "mariana_cluster/job_memory.h"

namespace mariana {

class Crew {
 public:
  // What comes while members are waited for.
  struct Listener {
    std::function<void(const std::string&)> warning;
    std::function<void()> tick;                       // several times a second
    std::function<void(int worker, Message)> scores;  // pieces of an evaluation
  };
  // `restarts`: of members, in all; one more ends the job with Error(kLostWorkers).
  Crew(int servers, int workers, int64_t restarts, Listener listener);

  // Starts the servers; what they made: [table][server].
  std::vector<std::vector<std::shared_ptr<TableShard>>> StartServers(const JobStart& job);
  // Hands the memory over, starts the workers, waits until all are ready.
  void StartWorkers(JobMemory* memory);

  // An epoch begins, or goes on from these positions.
  void BeginEpoch(const std::vector<LanePosition>& lanes);
  // Where lanes stand, while workers are paused.
  std::vector<LanePosition> positions() const { return memory_->lanes->positions(); }
  // Has workers that train pause at the batch that they are in: what was asked of them then comes
  // to its end. They go on with the next command to train.
  void PauseAtBatch() { memory_->progress->SetLimit(0); }

  // Sends message(w) to each and waits for an answer of this kind from each, in their order.
  std::vector<Message> AskWorkers(const std::function<Message(int)>& message, const char* answer);
  std::vector<Message> AskServers(const Message& message, const char* answer);
  // Both at once.
  struct Answers {
    std::vector<Message> workers, servers;
  };
  Answers AskAll(const std::function<Message(int)>& to_worker, const char* worker_answer,
                 const Message& to_server, const char* server_answer);
  // All end by themselves.
  void End();

  int servers() const { return node_.servers(); }
  int workers() const { return node_.workers(); }
  int64_t losses() const { return losses_; }  // of members, so far
  Board* board() { return node_.board(); }
  bool stopping() { return board()->stop_signal() != 0; }
  double CpuSeconds() { return node_.agent()->CpuSeconds(); }
  int64_t MemoryBytes() { return node_.agent()->MemoryBytes(); }

 private:
  int MemberOf(int worker) const { return servers() + worker; }
  // An answer of kind[m] from every member m of [first, last).
  std::vector<Message> WaitFor(int first, int last, const std::function<std::string(int)>& kind);
  void Lost(const std::string& how);

  const int64_t restarts_;
  Listener listener_;
  NodeCrew node_;
  JobMemory* memory_ = nullptr;
  int64_t losses_ = 0;
};

}  // namespace mariana
