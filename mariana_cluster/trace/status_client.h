// StatusClient: asks a running job of this machine how it is (status_server.h), or says why it
// cannot: no such run, or how it ended.
//
// Threading: one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/base/error.h"

namespace mariana {

// How a run that does not run any more ended, from its summary.json.
struct RunEnd {
  std::string status;  // "done", "stopped", "failed" ...; "killed" where it could not say
  int exit_code = 0;   // 137 for "killed"
  std::string error;
  std::string ToString() const;  // "stopped (exit code 75)"
};

class StatusClient {
 public:
  // Error(kUsage): there is no such run; Error(kIo): it runs, but elsewhere or unreachable.
  // Not connected where it has ended.
  explicit StatusClient(const std::string& run_dir);
  ~StatusClient();
  StatusClient(const StatusClient&) = delete;
  StatusClient& operator=(const StatusClient&) = delete;

  bool connected() const { return fd_ >= 0; }
  // nullopt: the job has ended meanwhile. Error(kIo) with what the job says is wrong.
  std::optional<nlohmann::json> Ask(const nlohmann::json& question);
  // Waits until no process holds the run directory any more.
  RunEnd AwaitEnd();

 private:
  std::string run_dir_, unread_;
  int fd_ = -1;
};

// --run_dir, or a word: a run directory, or a job's name under runs/.
std::string FindRun(const std::string& run_dir, const std::string& word);

}  // namespace mariana
