// Crew: the servers and workers of a job as the agent sees them: started, handed their memory,
// asked for something all at once, and answered one by one, while warnings, stop requests and the
// passing of time are passed on. A member that dies ends the job: see agent.h.
//
// Threading: the agent's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mariana_cluster/commands.h"
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
  Crew(int servers, int workers, Listener listener);

  // Starts the servers; what they made: [table][server].
  std::vector<std::vector<std::shared_ptr<TableShard>>> StartServers(const JobStart& job);
  // Hands the memory over, starts the workers, waits until all are ready.
  void StartWorkers(const JobStart& job, const JobMemory& memory);

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

  int servers() const { return servers_; }
  int workers() const { return workers_; }
  // A worker's place on the board.
  int MemberOf(int worker) const { return servers_ + worker; }
  Board* board() { return agent_.board(); }
  bool stopping() { return agent_.board()->stop_signal() != 0; }
  double CpuSeconds() const { return agent_.CpuSeconds(); }
  int64_t MemoryBytes() const { return agent_.MemoryBytes(); }

 private:
  // An answer of kind[m] from every member m of [first, last).
  std::vector<Message> WaitFor(int first, int last, const std::function<std::string(int)>& kind);

  const int servers_, workers_;
  Listener listener_;
  Agent agent_;
};

}  // namespace mariana
