#include "mariana_cluster/trace/node_trace.h"

#include <unistd.h>

#include <fstream>
#include <sstream>

#include "common/base/clock.h"
#include "common/base/error.h"

namespace mariana {
namespace {

using nlohmann::json;

struct Live {
  char state = 'X';  // the kernel's letter; X: it is gone
  double cpu_seconds = 0;
  int64_t own_bytes = 0, shared_bytes = 0;  // resident
};

// Gone or a zombie: 'X'. Never waits for the process.
Live Look(int pid) {
  Live live;
  std::string line;
  if (!std::getline(std::ifstream(StrCat("/proc/", pid, "/stat")), line)) return live;
  std::istringstream fields(line.substr(line.rfind(')') + 1));  // the name may hold anything
  fields >> live.state;
  if (live.state == 'Z') live.state = 'X';
  int64_t skipped, user = 0, system = 0;
  for (int i = 4; i < 14; ++i) fields >> skipped;
  fields >> user >> system;
  live.cpu_seconds = static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  std::ifstream status(StrCat("/proc/", pid, "/status"));
  int64_t kilobytes = 0;
  for (std::string key; status >> key; std::getline(status, line)) {
    if (key == "RssAnon:" && status >> kilobytes) live.own_bytes = kilobytes << 10;
    if (key == "RssShmem:" && status >> kilobytes) live.shared_bytes = kilobytes << 10;
  }
  return live;
}

json Describe(const std::string& name, int pid, const Live& live) {
  return {{"name", name},
          {"pid", pid},
          {"alive", live.state != 'X'},
          {"cpu_seconds", live.cpu_seconds},
          {"memory_bytes", live.own_bytes},
          {"shared_bytes", live.shared_bytes}};
}

// What the kernel knows is so, whatever the process said last.
std::string StateOf(const Live& live, ProcessState said) {
  if (live.state == 'X' && said != ProcessState::kEnded) return "dead";
  if (live.state == 'T' || live.state == 't') return "stopped";
  return Name(said);
}

void AddServerTimes(const TraceCounters& c, json* process) {
  json& seconds = (*process)["seconds"] = json::object();
  for (int s = 0; s < static_cast<int>(ServerStage::kCount); ++s) {
    if (c.ns[s] > 0) {
      seconds[Name(static_cast<ServerStage>(s))] = static_cast<double>(c.ns[s]) * 1e-9;
    }
  }
}

void AddWorker(const RunProgress::Totals& totals, json* process) {
  (*process)["steps"] = totals.steps;
  (*process)["samples"] = totals.samples;
  json& seconds = (*process)["seconds"] = json::object();
  for (int s = 0; s < static_cast<int>(WorkerStage::kCount); ++s) {
    if (totals.seconds[s] > 0) seconds[Name(static_cast<WorkerStage>(s))] = totals.seconds[s];
  }
}

}  // namespace

NodeTrace::NodeTrace(const std::string& node, int servers, const Board* board,
                     const RunProgress* progress, TraceBoard* trace)
    : node_(node),
      servers_(servers),
      board_(board),
      progress_(progress),
      trace_(trace),
      cursors_(static_cast<size_t>(trace->members())) {}

json NodeTrace::Process(int member) const {
  const int pid = board_->pid(member);
  const Live live = Look(pid);
  const TraceCounters c = trace_->Read(member);
  json process = Describe(board_->name(member), pid, live);
  process["kind"] = member < servers_ ? "server" : "worker";
  process["state"] = StateOf(live, c.state);
  process["restarts"] = board_->starts(member) - 1;
  process["queued"] = c.queued;
  process["queue_capacity"] = c.queue_capacity;
  process["keys_read"] = c.keys_read;
  process["keys_updated"] = c.keys_updated;
  process["bytes_in"] = c.bytes_in;
  process["bytes_out"] = c.bytes_out;
  if (member < servers_) {
    AddServerTimes(c, &process);
    return process;
  }
  AddWorker(progress_->worker(member - servers_), &process);
  process["staleness"] = c.staleness;
  process["lane"] = c.lane;
  process["batch"] = c.batch;
  return process;
}

json NodeTrace::Processes() const {
  json agent = Describe("agent", getpid(), Look(getpid()));
  agent["kind"] = "agent";
  agent["state"] = "serving";
  json all = json::array({agent});
  for (int m = 0; m < board_->members(); ++m) {
    if (board_->pid(m) != 0) all.push_back(Process(m));
  }
  return {{"node", node_}, {"now_ns", Clock::Real()->NowNs()}, {"processes", all}};
}

// [process, what, thread, begin_us, us], begin by the clock of day, which nodes share.
json NodeTrace::Spans() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t day_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec - Clock::Real()->NowNs();
  json spans = json::array();
  int64_t lost = 0;
  for (int m = 0; m < board_->members(); ++m) {
    const std::string name = board_->name(m);
    for (const Span& s : trace_->TakeSpans(m, &cursors_[static_cast<size_t>(m)], &lost)) {
      spans.push_back({name, SpanName(s.what), s.thread,
                       static_cast<double>(s.begin_ns + day_ns) * 1e-3,
                       static_cast<double>(s.end_ns - s.begin_ns) * 1e-3});
    }
  }
  return {{"node", node_}, {"spans", spans}, {"lost", lost}};
}

std::string NodeTrace::Report() {
  json report = Processes();
  report["trace"] = Spans();
  const std::vector<uint8_t> bytes = json::to_msgpack(report);
  return {bytes.begin(), bytes.end()};
}

void NodeTrace::Obey(const std::string& order) {
  const json seconds = json::from_msgpack(order);
  trace_->TraceUntil(Clock::Real()->NowNs() + static_cast<int64_t>(seconds.get<double>() * 1e9));
}

}  // namespace mariana
