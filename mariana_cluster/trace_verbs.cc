// status, trace and stop: what asks a running job.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_cluster/trace/chrome_trace.h"
#include "mariana_cluster/trace/process_table.h"
#include "mariana_cluster/trace/status_client.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

using nlohmann::json;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kLookAgainNs = 50'000'000;
constexpr int kPlainColumns = 120;

const json kStatus = {{"ask", "status"}}, kSpans = {{"ask", "spans"}}, kStop = {{"ask", "stop"}};

std::string RunOf(const CommandLine& cl) {
  if (cl.arguments.size() > 1) {
    throw Fail(ExitCode::kUsage, cl.verb, " takes one run, not also '", cl.arguments[1], "'");
  }
  return FindRun(cl.run_dir, cl.arguments.empty() ? "" : cl.arguments[0]);
}

Error NotRunning(const std::string& run, StatusClient* client) {
  return Fail(ExitCode::kUsage, run, " does not run any more: ", client->AwaitEnd().ToString());
}

bool OnTerminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && term != nullptr && std::strcmp(term, "dumb") != 0;
}

TableStyle StyleOfOutput() {
  TableStyle style;
  style.columns = kPlainColumns;
  winsize size = {};
  if (!OnTerminal()) return style;
  style.colour = std::getenv("NO_COLOR") == nullptr;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    style.columns = size.ws_col - 1;  // a full line would wrap
    style.lines = size.ws_row - 1;
  }
  return style;
}

// False when the user asked to leave before.
bool Sleep(int64_t ns) {
  const int64_t end = Clock::Real()->NowNs() + ns;
  while (!StopRequested() && Clock::Real()->NowNs() < end) Clock::Real()->SleepFor(kLookAgainNs);
  return !StopRequested();
}

void Print(const json& status, ProgressMode mode) {
  if (mode == ProgressMode::kJson) {
    std::printf("%s\n", status.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
  } else {
    for (const std::string& line : RenderStatus(status, StyleOfOutput())) {
      std::printf("%s\n", line.c_str());
    }
  }
  std::fflush(stdout);
}

// Draws over what it drew before; the last table stays when it ends.
class LiveTable {
 public:
  void Draw(const json& status) {
    std::string text = drawn_ > 0 ? StrCat("\033[", drawn_, "A") : "";
    const auto lines = RenderStatus(status, StyleOfOutput());
    for (const std::string& line : lines) text += "\r" + line + "\033[K\n";
    text += "\033[J";
    drawn_ = lines.size();
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

 private:
  size_t drawn_ = 0;
};

int Watch(const CommandLine& cl, const std::string& run, StatusClient* client) {
  const bool live =
      cl.progress == ProgressMode::kBar || (cl.progress == ProgressMode::kAuto && OnTerminal());
  LiveTable table;
  std::optional<json> before = client->Ask(kStatus), now;
  if (!before) throw NotRunning(run, client);
  for (int64_t wait = kSecondNs / 4; Sleep(wait); wait = kSecondNs) {
    if (!(now = client->Ask(kStatus))) {
      std::printf("%s: %s\n", run.c_str(), client->AwaitEnd().ToString().c_str());
      return 0;
    }
    json shown = *now;
    AddRates(*before, &shown);
    if (live) {
      table.Draw(shown);
    } else {
      Print(shown, cl.progress);
    }
    before = std::move(now);
  }
  return 0;
}

int Record(const CommandLine& cl, const std::string& run, StatusClient* client) {
  ChromeTrace trace;
  const auto ask = [&](const json& question) {
    std::optional<json> answer = client->Ask(question);
    if (!answer) throw NotRunning(run, client);
    return std::move(*answer);
  };
  ask({{"ask", "trace"}, {"seconds", cl.seconds}});
  const auto whole = static_cast<int64_t>(cl.seconds * 1e9);
  const int64_t end = Clock::Real()->NowNs() + whole + kSecondNs / 2;  // other nodes' come later
  while (Clock::Real()->NowNs() < end && Sleep(kSecondNs / 4)) trace.Add(ask(kSpans));
  trace.Write(cl.output);
  std::printf("%s: %lld spans of %lld processes%s; chrome://tracing and ui.perfetto.dev show it\n",
              cl.output.c_str(), static_cast<long long>(trace.spans()),
              static_cast<long long>(trace.processes()),
              trace.lost() > 0 ? StrCat(", ", trace.lost(), " lost").c_str() : "");
  return 0;
}

}  // namespace

int StatusVerb(const CommandLine& cl) {
  const std::string run = RunOf(cl);
  StatusClient client(run);
  std::optional<json> before = client.Ask(kStatus), now;
  if (before) Sleep(kSecondNs / 2);
  if (!before || !(now = client.Ask(kStatus))) {
    const RunEnd end = client.AwaitEnd();
    if (cl.progress == ProgressMode::kJson) {
      Print({{"run_dir", run},
             {"phase", "ended"},
             {"status", end.status},
             {"exit_code", end.exit_code},
             {"error", end.error}},
            cl.progress);
    } else {
      std::printf("%s: %s\n", run.c_str(), end.ToString().c_str());
    }
    return 0;
  }
  AddRates(*before, &*now);
  Print(*now, cl.progress);
  return 0;
}

int TraceVerb(const CommandLine& cl) {
  HandleStopSignals(cl.program.c_str(), StopNotice::kNone);
  if ((cl.seconds > 0) != !cl.output.empty()) {
    throw Fail(ExitCode::kUsage, "trace: --seconds=S and --output=FILE.json go together");
  }
  const std::string run = RunOf(cl);
  StatusClient client(run);
  if (!client.connected()) throw NotRunning(run, &client);
  return cl.seconds > 0 ? Record(cl, run, &client) : Watch(cl, run, &client);
}

int StopVerb(const CommandLine& cl) {
  const std::string run = RunOf(cl);
  StatusClient client(run);
  if (!client.connected() || !client.Ask(kStop)) throw NotRunning(run, &client);
  const RunEnd end = client.AwaitEnd();
  const bool stopped = end.exit_code == static_cast<int>(ExitCode::kStopped);
  std::printf("%s: %s%s\n", run.c_str(), end.ToString().c_str(),
              stopped ? "; the command that started it, with --resume, goes on" : "");
  return stopped ? 0 : end.exit_code;
}

}  // namespace mariana
