// How an agent starts a member's process: fork and exec, with two descriptors at fixed places
// (member.h), no others, and no signal blocked. Called by the agent's thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace mariana {

struct ProcessPlan {
  std::string program;
  std::vector<std::string> arguments;
  std::string variable;  // "NAME=value", added to the agent's environment
  int channel = -1, board = -1;
  int nice = 0;
  bool outlives = false;  // else it dies with the thread that starts it
};

// Its process id; < 0, with errno, when it cannot be started.
pid_t StartProcess(const ProcessPlan& plan);

}  // namespace mariana
