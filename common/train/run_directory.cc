#include "common/train/run_directory.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  return names;
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

std::vector<int64_t> StepsIn(const std::string& folder) {
  std::vector<int64_t> steps;
  for (const std::string& name : Names(folder)) {
    if (const auto step = ParseCheckpointName(name)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

// Who holds the lock, from the file's text "<pid> <host>".
std::string Holder(int fd) {
  char text[300] = {};
  const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
  long pid = 0;
  char host[256] = {};
  if (n <= 0 || std::sscanf(text, "%ld %255s", &pid, host) != 2) return "another process";
  return StrCat("process ", pid, " on ", host);
}

}  // namespace

std::string CheckpointName(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof(name), "step-%08lld", static_cast<long long>(step));
  return name;
}

std::optional<int64_t> ParseCheckpointName(const std::string& name) {
  long long step = 0;
  if (name.size() > 24 || std::sscanf(name.c_str(), "step-%lld", &step) != 1 || step < 0 ||
      CheckpointName(step) != name) {
    return std::nullopt;
  }
  return step;
}

RunDirectory::RunDirectory(const std::string& path, bool resume) : path_(path) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  MakeDirectories(path_);
  Lock();
  try {
    if (!resume && HoldsRun(path_)) {
      throw Fail(
          ExitCode::kCannotCreate, path_,
          " holds a run already: add --resume to go on with it, or choose another --run_dir");
    }
    resumed_ = fs::exists(config_path());
    MakeDirectories(checkpoints_path());
    MakeDirectories(log_path());
    Recover();
  } catch (...) {
    close(lock_fd_);
    throw;
  }
}

RunDirectory::~RunDirectory() { close(lock_fd_); }  // and with it goes the lock

void RunDirectory::Lock() {
  const std::string lock = path_ + "/.lock";
  lock_fd_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_fd_ < 0) {
    throw Fail(ExitCode::kCannotCreate, "cannot create ", lock, ": ", std::strerror(errno));
  }
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      const std::string holder = Holder(lock_fd_);
      close(lock_fd_);
      throw Fail(ExitCode::kCannotCreate, path_, " is in use by ", holder,
                 ": wait for it, stop it, or choose another --run_dir");
    }
    LOG(WARNING) << lock << ": this file system has no locks (" << std::strerror(errno)
                 << "); do not start a second process on " << path_;
  }
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  const std::string text = StrCat(getpid(), " ", host, "\n");
  if (ftruncate(lock_fd_, 0) != 0 ||
      pwrite(lock_fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    LOG(WARNING) << "cannot write " << lock << ": " << std::strerror(errno);  // only a courtesy
  }
}

// See SaveCheckpoint for what an interrupted save may leave.
void RunDirectory::Recover() const {
  for (const std::string& name : Names(checkpoints_path())) {
    const std::string hidden = checkpoints_path() + "/" + name;
    if (StartsWith(name, ".old-")) {  // moved away for its replacement, which never came
      const std::string original = checkpoints_path() + "/" + name.substr(5);
      if (!fs::exists(original)) {
        fs::rename(hidden, original);
        continue;
      }
    } else if (!StartsWith(name, ".new-") && !StartsWith(name, ".gone-")) {
      continue;
    }
    RemoveTree(hidden);
  }
  for (const std::string& name : Names(path_)) {  // left by an interrupted WriteFileAtomic
    for (const char* file : {"job.yaml", "metrics.jsonl", "summary.json", "report.html"}) {
      if (StartsWith(name, std::string(file) + ".tmp.")) RemoveTree(path_ + "/" + name);
    }
  }
}

bool RunDirectory::HoldsRun(const std::string& path) {
  return fs::exists(path + "/job.yaml") || !StepsIn(path + "/checkpoints").empty();
}

bool RunDirectory::finished() const {
  if (!fs::exists(summary_path())) return false;
  const auto summary = nlohmann::json::parse(ReadFile(summary_path()), nullptr, false);
  return summary.is_object() && summary.contains("status") && summary["status"] == "done";
}

std::string RunDirectory::checkpoint_path(int64_t step) const {
  return checkpoints_path() + "/" + CheckpointName(step);
}

void RunDirectory::WriteConfig(const std::string& yaml) const {
  WriteFileAtomic(config_path(), yaml);
}

std::string RunDirectory::ReadConfig() const { return ReadFile(config_path()); }

std::vector<int64_t> RunDirectory::CheckpointSteps() const { return StepsIn(checkpoints_path()); }

void RunDirectory::MoveLink(const std::string& name, int64_t step) const {
  const std::string link = path_ + "/" + name, fresh = path_ + "/." + name + ".new";
  const std::string target = "checkpoints/" + CheckpointName(step);
  unlink(fresh.c_str());
  if (symlink(target.c_str(), fresh.c_str()) != 0 || rename(fresh.c_str(), link.c_str()) != 0) {
    const int error = errno;
    unlink(fresh.c_str());
    throw Fail(ExitCode::kIo, "cannot move the link ", link, ": ", std::strerror(error));
  }
  FsyncDirectory(path_);
}

std::optional<int64_t> RunDirectory::LinkedStep(const std::string& name) const {
  std::error_code error;
  const fs::path target = fs::read_symlink(path_ + "/" + name, error);
  return error ? std::nullopt : ParseCheckpointName(target.filename().string());
}

}  // namespace mariana
