#include "mariana_cluster/trace/status_client.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/train/run_directory.h"
#include "mariana_cluster/trace/status_socket.h"

namespace mariana {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kLookAgainNs = 50'000'000;

bool IsOlder(const std::string& a, const std::string& b) {
  struct stat x, y;
  if (stat(a.c_str(), &x) != 0) return true;
  if (stat(b.c_str(), &y) != 0) return false;
  const auto ns = [](const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; };
  return ns(x.st_mtim) < ns(y.st_mtim);
}

// Who holds a run, as run_directory.h has it write down.
struct Holder {
  int pid = 0;
  std::string host;
};

Holder ReadHolder(const std::string& run_dir) {
  char host[256] = {};
  Holder holder;
  const std::string text = ReadFile(run_dir + "/.lock");
  if (std::sscanf(text.c_str(), "%d %255s", &holder.pid, host) == 2) holder.host = host;
  return holder;
}

// Whether it still has the lock open. To try the lock itself could keep a run from starting.
bool Holds(int pid, const std::string& lock) {
  struct stat wanted, open_file;
  if (stat(lock.c_str(), &wanted) != 0) return false;
  std::error_code error;
  for (fs::directory_iterator it(StrCat("/proc/", pid, "/fd"), error), end; !error && it != end;
       it.increment(error)) {
    if (stat(it->path().c_str(), &open_file) == 0 && open_file.st_dev == wanted.st_dev &&
        open_file.st_ino == wanted.st_ino) {
      return true;
    }
  }
  return false;
}

bool IsHeld(const std::string& run_dir) {
  const Holder holder = ReadHolder(run_dir);
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  const std::string lock = run_dir + "/.lock";
  if (holder.host == host) return Holds(holder.pid, lock);
  return IsOlder(run_dir + "/summary.json", lock);  // on another machine, as far as files tell
}

// The lock is written as a run starts: an older summary tells of the start before.
RunEnd ReadEnd(const std::string& run_dir) {
  const std::string path = run_dir + "/summary.json";
  RunEnd end{"killed", 137, ""};
  if (IsOlder(path, run_dir + "/.lock")) return end;
  const json summary = json::parse(ReadFile(path), nullptr, false);
  if (!summary.is_object()) return end;
  end.status = summary.value("status", "failed");
  end.exit_code = summary.value("exit_code", static_cast<int>(ExitCode::kInternal));
  end.error = summary.value("error", "");
  return end;
}

}  // namespace

std::string RunEnd::ToString() const {
  return StrCat(status, " (exit code ", exit_code, ")", error.empty() ? "" : ": ", error);
}

StatusClient::StatusClient(const std::string& run_dir) : run_dir_(run_dir) {
  if (!fs::is_directory(run_dir) || !fs::exists(run_dir + "/.lock")) {
    throw Fail(ExitCode::kUsage, run_dir, ": no run was started there");
  }
  fd_ = StatusSocket(run_dir).Connect();
  if (fd_ < 0 && IsHeld(run_dir)) {
    const int error = errno;
    const Holder holder = ReadHolder(run_dir);
    throw Fail(ExitCode::kIo, run_dir, ": process ", holder.pid, " on ", holder.host,
               " runs it, but cannot be asked from here (", std::strerror(error),
               "): ask on that machine, or wait until it has started");
  }
}

StatusClient::~StatusClient() {
  if (fd_ >= 0) close(fd_);
}

std::optional<json> StatusClient::Ask(const json& question) {
  std::string line;
  if (fd_ < 0 || !SendAll(fd_, question.dump() + "\n") || !ReceiveLine(fd_, &unread_, &line)) {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
    return std::nullopt;
  }
  json answer = json::parse(line, nullptr, false);
  if (answer.is_discarded()) throw Fail(ExitCode::kIo, run_dir_, ": its status is no JSON");
  if (answer.is_object() && answer.contains("error")) {
    throw Fail(ExitCode::kIo, run_dir_, ": ", answer["error"].dump());
  }
  return answer;
}

RunEnd StatusClient::AwaitEnd() {
  while (IsHeld(run_dir_)) Clock::Real()->SleepFor(kLookAgainNs);
  return ReadEnd(run_dir_);
}

std::string FindRun(const std::string& run_dir, const std::string& word) {
  if (run_dir.empty() == word.empty()) {
    throw Fail(ExitCode::kUsage, run_dir.empty()
                                     ? "name the run: --run_dir=DIR, or a job's name under runs/"
                                     : "give --run_dir or a name, not both");
  }
  if (!run_dir.empty()) return run_dir;
  const std::string under_runs = "runs/" + word;
  return fs::exists(under_runs) || !fs::exists(word) ? under_runs : word;
}

}  // namespace mariana
