#include "mariana_cluster/process/start_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>

#include "mariana_cluster/process/member.h"

namespace mariana {
namespace {

// Runs in the child between fork and exec: async-signal-safe calls alone.
[[noreturn]] void Exec(const ProcessPlan& plan, pid_t agent, char* const* arguments,
                       char* const* environment) {
  if (plan.outlives) {
    setsid();  // signals to the agent's group are not for it
  } else {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  if (getppid() != agent) _exit(127);  // it died before the kernel was told
  // First out of the way, so that neither overwrites the other.
  const int channel = fcntl(plan.channel, F_DUPFD, 10);
  const int board = fcntl(plan.board, F_DUPFD, 10);
  dup2(channel, kMemberChannelFd);
  dup2(board, kMemberBoardFd);
  syscall(SYS_close_range, kMemberBoardFd + 1, ~0u, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (plan.nice != 0) setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + plan.nice);
  execve(plan.program.c_str(), arguments, environment);
  _exit(127);
}

// Members are no ranks of mpirun's, though their agent is one.
bool IsOfLauncher(std::string_view variable) {
  return variable.rfind("OMPI_", 0) == 0 || variable.rfind("PMIX_", 0) == 0 ||
         variable.rfind("PMI_", 0) == 0;
}

}  // namespace

pid_t StartProcess(const ProcessPlan& plan) {
  std::vector<std::string> words = {plan.program};
  words.insert(words.end(), plan.arguments.begin(), plan.arguments.end());
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  std::string variable = plan.variable;
  std::vector<char*> environment;
  for (char** e = environ; *e != nullptr; ++e) {
    if (!IsOfLauncher(*e)) environment.push_back(*e);
  }
  environment.push_back(variable.data());
  environment.push_back(nullptr);
  const pid_t agent = getpid(), pid = fork();
  if (pid == 0) Exec(plan, agent, arguments.data(), environment.data());
  return pid;
}

}  // namespace mariana
