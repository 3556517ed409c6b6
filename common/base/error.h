// Error: a user's mistake (config, data, model file, disk) on its way to `main`,
// which prints its one line and exits with its code. A bug in Mariana itself is a glog
// CHECK instead. Thread-safe: an Error is an immutable value.
#pragma once

#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace mariana {

// Exit codes of all programs (docs/ARCHITECTURE.md lists them for users).
enum class ExitCode : int {
  kOk = 0,
  kUsage = 64,         // command line or config
  kBadData = 65,       // bad data or model file
  kInternal = 70,      // a bug, or an exception nobody foresaw
  kCannotCreate = 73,  // output cannot be created (run directory holds a run, no permission)
  kIo = 74,            // I/O error, disk full
  kStopped = 75,       // stopped by a signal after saving; --resume goes on
  kDiverged = 76,      // NaN or Inf in loss or gradients
  kLostWorkers = 77,   // more workers lost than the job allows
};

// The message is one line: where (file:line:column, utterance, record), what is wrong,
// what would be right.
class Error : public std::exception {
 public:
  Error(ExitCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ExitCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ExitCode code_;
  std::string message_;
};

// "a", 3, 1.5 -> "a31.5".
template <class... Args>
std::string StrCat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

// throw Fail(ExitCode::kBadData, path, ": truncated at byte ", n);
template <class... Args>
Error Fail(ExitCode code, const Args&... args) {
  return Error(code, StrCat(args...));
}

}  // namespace mariana
