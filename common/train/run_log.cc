#include "common/train/run_log.h"

#include <execinfo.h>
#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

// What the failure function prints; it gets no arguments, so these are statics.
char program_name[64];
char fatal_line[1024];

// Keeps the first fatal message for the last line on stderr.
class FatalSink : public google::LogSink {
 public:
  void send(google::LogSeverity severity, const char*, const char* file, int line,
            const google::LogMessageTime&, const char* message, size_t length) override {
    if (severity != google::GLOG_FATAL || fatal_line[0] != '\0') return;
    std::snprintf(fatal_line, sizeof(fatal_line), "%.*s (%s:%d)", static_cast<int>(length), message,
                  file, line);
    std::replace(fatal_line, fatal_line + std::strlen(fatal_line), '\n', ' ');
  }
};

// GNU's attribute, which is part of the type as clang sees it; glog asks for that type.
__attribute__((noreturn)) void ExitOnBug() {
  static std::atomic<bool> ending{false};
  while (ending.exchange(true)) pause();  // another thread has failed, and ends the process
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  char text[1200];
  const int n =
      std::snprintf(text, sizeof(text), "%s: internal error: %s\n", program_name, fatal_line);
  const ssize_t ignored = write(STDERR_FILENO, text, static_cast<size_t>(n));
  static_cast<void>(ignored);
  _exit(static_cast<int>(ExitCode::kInternal));
}

}  // namespace

void InitLog(const char* program) {
  std::snprintf(program_name, sizeof(program_name), "%s", program);
  google::InitGoogleLogging(program_name);
  FLAGS_stderrthreshold = google::GLOG_WARNING;
  for (const auto severity :
       {google::GLOG_INFO, google::GLOG_WARNING, google::GLOG_ERROR, google::GLOG_FATAL}) {
    google::SetLogDestination(severity, "");  // no files in /tmp
    google::SetLogSymlink(severity, "");
  }
  static FatalSink* const sink = new FatalSink;  // glog may use it until the process ends
  google::AddLogSink(sink);
  google::InstallFailureSignalHandler();
  google::InstallFailureFunction(&ExitOnBug);
}

void LogToFolder(const std::string& folder, int rank) {
  const std::string base = StrCat(folder, "/rank-", rank, ".");
  google::SetLogDestination(google::GLOG_INFO, base.c_str());
  FLAGS_logbufsecs = 5;
}

}  // namespace mariana
