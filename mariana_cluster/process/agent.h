// Agent: starts and supervises the processes of a job on one node: parameter servers, which own the
// tables, and workers, which use them. They are the same executable, started again with arguments
// of their own, and share memory with the agent by inherited or sent descriptors.
//
//   Agent agent(members);
//   int server = agent.Start({"server 0", {"server", "--config=..."}});
//   for (;;) {
//     Agent::Event e = agent.Next(1000);
//     ... e.kind: a message of a member, a member that ended well, a stop request, the time-out
//   }
//
// A member that is killed from outside is told of (kLost), and whoever uses the agent decides:
// start it again, with the same number, or end the job. So is one that is stopped, or gives no sign
// of life (Board::Beat): the agent kills it first. A member that fails by itself is the end of the
// job: Next ends all others and throws Error with the cause. Its own Error if it reported one
// (member.h); 70 for a crash (SIGSEGV, SIGABRT and the like) or another exit code.
//
// No orphans: a member dies with its agent (PR_SET_PDEATHSIG), however that ends; the kernel means
// the thread that called Start: it must live as long as the agent. One that is to outlive it sees
// its channel close, and ends by itself.
//
// Stops: SIGTERM, SIGINT and SIGUSR1 (common/train/signals.h must handle them) are passed on to the
// board once, and Next tells; members save and end by themselves.
//
// Threading: one thread uses an agent.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "mariana_cluster/process/board.h"
#include "mariana_cluster/process/channel.h"

namespace mariana {

struct MemberSpec {
  std::string name;                    // "worker 1", for people
  std::vector<std::string> arguments;  // after the program's name
  int nice = 0;                        // added to the agent's priority
  bool outlives = false;               // its agent: sees the channel close, and ends by itself
};

class Agent {
 public:
  // For so many members, numbered in the order in which they start. `program`: what to run, this
  // executable by default.
  explicit Agent(int members, std::string program = "/proc/self/exe");
  ~Agent();  // kills and reaps all that still run
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  Board* board() { return &board_; }
  int Start(const MemberSpec& spec);  // its number; Error(kIo) when it cannot
  void Restart(int member);           // that is lost: the same again, with a new channel
  pid_t pid(int member) const;
  bool running(int member) const;
  int running() const;  // how many
  // CPU time of all members so far.
  double CpuSeconds() const;
  // Resident memory of the agent and all members now; what they share counts once.
  int64_t MemoryBytes() const;

  // False when the member is gone; Next will tell why.
  bool Send(int member, const Message& message);
  void SendAll(const Message& message);

  struct Event {
    enum class Kind { kMessage, kEnded, kLost, kStop, kTimeout };
    Kind kind = Kind::kTimeout;
    int member = -1;  // kMessage, kEnded, kLost
    Message message;  // kMessage
    int signal = 0;   // kStop: once a job
    std::string how;  // kLost: "worker 1 (pid 4711) was killed by signal 9 (SIGKILL)"
  };
  // Waits for what comes next. Messages of a member come before its end.
  Event Next(int64_t timeout_ms);
  // Tells members that wait why the job ends, ends them all (kLostWorkers: abandons them) and
  // throws.
  [[noreturn]] void End(const Error& error);
  // Kills members and closes the channels of those that outlive their agent.
  void Abandon();

 private:
  struct Member;
  void Launch(int index);
  Event Ended(int index);
  bool Poll(int64_t timeout_ms, Event* event);
  void KillTheStuck();

  std::string program_;
  Board board_;
  std::vector<std::unique_ptr<Member>> members_;
  size_t first_ = 0;  // who is looked at first: the next in turn
  bool told_stop_ = false;
  int64_t looked_ns_ = 0;  // at signs of life
};

}  // namespace mariana
