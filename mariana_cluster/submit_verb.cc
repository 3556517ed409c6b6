// submit: a job in the background, in a session of its own, so that neither the terminal's end nor
// its Ctrl-C reaches it.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/run_directory.h"
#include "common/train/signals.h"
#include "common/train/train_run.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/trace/status_client.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

constexpr int64_t kLookAgainNs = 100'000'000;

// What is started: this executable, with the words of this command line.
std::vector<std::string> WordsOf(const CommandLine& cl, const std::string& run) {
  std::vector<std::string> words;
  if (cl.nodes > 1) {
    words = {"mpirun",    "-np", std::to_string(cl.nodes), "--map-by", "node", "--oversubscribe",
             "--bind-to", "none"};
  }
  words.push_back(std::filesystem::read_symlink("/proc/self/exe").string());
  words.insert(words.end(), {"train", "--config=" + cl.config, "--run_dir=" + run,
                             "--device=" + cl.device, "--progress=plain"});
  if (cl.resume) words.push_back("--resume");
  if (cl.verbosity != 0) words.push_back(StrCat("--v=", cl.verbosity));
  words.insert(words.end(), cl.overrides.begin(), cl.overrides.end());
  return words;
}

// Its pid. What it writes goes to `log`.
pid_t Start(std::vector<std::string> words, const std::string& log) {
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (out < 0) {
    throw Fail(ExitCode::kCannotCreate, "cannot create ", log, ": ", std::strerror(errno));
  }
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {  // async-signal-safe calls alone
    setsid();
    const int in = open("/dev/null", O_RDONLY);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    signal(SIGPIPE, SIG_DFL);
    execvp(arguments[0], arguments.data());
    const char* why = std::strerror(errno);
    const ssize_t ignored = write(STDERR_FILENO, why, std::strlen(why));
    static_cast<void>(ignored);
    _exit(static_cast<int>(ExitCode::kUsage));
  }
  close(out);
  if (pid < 0) throw Fail(ExitCode::kIo, "cannot start a process: ", std::strerror(errno));
  return pid;
}

// What a job said last of its failure; mpirun may speak after it.
std::string LastWords(const std::string& log, const std::string& program) {
  const std::string text = ReadFile(log), error = program + ": error: ";
  size_t begin = text.rfind(error);
  if (begin != std::string::npos) {
    begin += error.size();
  } else {
    const size_t end = text.find_last_not_of("-\n");  // mpirun frames what it says
    if (end == std::string::npos) return "it said nothing";
    begin = text.rfind('\n', end) + 1;
  }
  return text.substr(begin, text.find('\n', begin) - begin);
}

bool Trains(const std::string& run) {
  try {
    StatusClient client(run);
    const auto status = client.Ask({{"ask", "status"}});
    return status && (*status)["phase"] != "start";
  } catch (const Error&) {
    return false;  // it has not come so far
  }
}

}  // namespace

int SubmitVerb(const CommandLine& cl) {
  JobSpec job;
  LoadConfig({cl.config, cl.overrides}, [&job](Fields* f) { job.Describe(f); });
  if (cl.nodes < 1) throw Fail(ExitCode::kUsage, "--nodes=", cl.nodes, ": must be at least 1");
  const std::string run = std::filesystem::absolute(RunPath(cl, job.name)).string();
  if (!cl.resume && RunDirectory::HoldsRun(run)) {
    throw Fail(ExitCode::kCannotCreate, run,
               " holds a run already: add --resume to go on with it, or choose another --run_dir");
  }
  MakeDirectories(run + "/log");
  const std::string log = run + "/log/submit.log";
  const pid_t pid = Start(WordsOf(cl, run), log);
  int status = 0;
  bool ended = false;
  while (!ended && !StopRequested() && !Trains(run)) {
    Clock::Real()->SleepFor(kLookAgainNs);
    ended = waitpid(pid, &status, WNOHANG) == pid;
  }
  const int code = !ended ? 0 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (code != 0) {
    throw Error(static_cast<ExitCode>(code), StrCat(LastWords(log, cl.program), " (", log, ")"));
  }
  std::printf("%s  pid %d%s\n", run.c_str(), static_cast<int>(pid),
              ended             ? "  done already"
              : StopRequested() ? "  not training yet; it goes on in the background"
                                : "");
  return 0;
}

}  // namespace mariana
