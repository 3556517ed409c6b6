#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/run_directory.h"
#include "mariana_cluster/trace/chrome_trace.h"
#include "mariana_cluster/trace/job_trace.h"
#include "mariana_cluster/trace/process_table.h"
#include "mariana_cluster/trace/status_client.h"
#include "mariana_cluster/trace/status_server.h"
#include "tests/common/train/scratch_folder.h"

using namespace mariana;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kHour = 3'600'000'000'000;

// A node of one server and two workers, all of them this process.
struct Node {
  Node()
      : board(Board::Create(3)), progress(RunProgress::Create(2, 0)), trace(TraceBoard::Create(3)) {
    board.SetMember(0, "server 0", getpid());
    board.SetMember(1, "worker 0", getpid());
    board.SetMember(2, "worker 1", getpid());
  }
  std::unique_ptr<NodeTrace> Gather(const std::string& name) {
    return std::make_unique<NodeTrace>(name, 1, &board, &progress, &trace);
  }
  Board board;
  RunProgress progress;
  TraceBoard trace;
};

const json& Process(const json& status, size_t node, size_t process) {
  return status["nodes"][node]["processes"][process];
}

std::string Code(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return StrCat(static_cast<int>(e.code()), " ", e.message());
  }
  return "no error";
}

}  // namespace

TEST_CASE("what a process writes of itself is read through another mapping") {
  const TraceBoard ours = TraceBoard::Create(2);
  const TraceBoard theirs = TraceBoard::Attach(dup(ours.fd()));
  TraceWriter writer = theirs.writer(1);
  writer.SetState(ProcessState::kTraining);
  writer.SetPlace(3, 17);
  writer.SetQueue(1, 2);
  writer.AddKeys(10, 5);
  writer.AddBytes(7, 8);
  for (const int steps : {0, 0, 1, 2, 3, 4, 1 << 20}) writer.AddStaleness(steps);
  const TraceCounters c = ours.Read(1);
  CHECK(c.state == ProcessState::kTraining);
  CHECK(std::vector<int64_t>{c.lane, c.batch, c.queued, c.queue_capacity} ==
        std::vector<int64_t>{3, 17, 1, 2});
  CHECK(std::vector<int64_t>{c.keys_read, c.keys_updated, c.bytes_in, c.bytes_out} ==
        std::vector<int64_t>{10, 5, 7, 8});
  CHECK(std::vector<int64_t>(c.staleness, c.staleness + 4) == std::vector<int64_t>{2, 1, 2, 1});
  CHECK(c.staleness[kStalenessBuckets - 1] == 1);
  CHECK(ours.Read(0).keys_read == 0);
  CHECK(ours.Read(0).lane == -1);
  TraceWriter().AddKeys(1, 1);  // tells nobody
}

TEST_CASE("spans are kept while somebody traces, and no longer") {
  TraceBoard board = TraceBoard::Create(1);
  TraceWriter writer = board.writer(0);
  uint64_t cursor = 0;
  int64_t lost = 0;
  const int what = SpanOf(WorkerStage::kGather);
  const int64_t now = Clock::Real()->NowNs();
  writer.AddSpan(what, now, now + 1);
  CHECK(board.TakeSpans(0, &cursor, &lost).empty());
  board.TraceUntil(now + kHour);
  writer.AddSpan(what, now, now + 2, 1);
  writer.AddSpan(what, now, now + 2 * kHour);
  writer.AddServerTime(ServerStage::kPull, now, now + 3);
  const std::vector<Span> spans = board.TakeSpans(0, &cursor, &lost);
  REQUIRE(spans.size() == 2);
  CHECK(spans[0].end_ns == now + 2);
  CHECK(spans[0].thread == 1);
  CHECK(std::string(SpanName(spans[0].what)) == "gather");
  CHECK(std::string(SpanName(spans[1].what)) == "pull");
  CHECK(board.Read(0).ns[static_cast<int>(ServerStage::kPull)] == 3);
  CHECK(board.TakeSpans(0, &cursor, &lost).empty());
  CHECK(lost == 0);
}

TEST_CASE("every span is read whole or counted as lost, whatever the reader's pace") {
  constexpr int64_t kSpans = 200000;
  TraceBoard board = TraceBoard::Create(1);
  board.TraceUntil(Clock::Real()->NowNs() + kHour);
  std::vector<std::thread> writers;
  for (int t = 0; t < 2; ++t) {
    writers.emplace_back([&board, t] {
      TraceWriter writer = board.writer(0);
      for (int64_t i = 0; i < kSpans / 2; ++i) writer.AddSpan(t, i, 2 * i, t);
    });
  }
  uint64_t cursor = 0;
  int64_t lost = 0, read = 0, torn = 0;
  const auto take = [&] {
    for (const Span& s : board.TakeSpans(0, &cursor, &lost)) {
      ++read;
      torn += s.end_ns != 2 * s.begin_ns || s.what != s.thread ? 1 : 0;
    }
  };
  for (int i = 0; i < 50; ++i) take();
  for (std::thread& w : writers) w.join();
  take();
  CHECK(torn == 0);
  CHECK(read + lost == kSpans);
  CHECK(read > 0);
}

TEST_CASE("a job's status has the processes of all nodes, with what each did") {
  Node own, other;
  other.progress.Count(1, 256, 0.5, 256);
  other.progress.AddNs(1, WorkerStage::kLearn, 2'000'000'000);
  other.trace.writer(2).SetState(ProcessState::kWaiting);
  other.board.SetMember(2, "worker 1", getpid());  // again
  JobTrace job({"ads", "/runs/ads"});
  job.Watch(own.Gather("n0"));
  job.Put(1, other.Gather("n1")->Report());
  job.Happened("worker 1 was started again");
  const json status = job.Status();
  REQUIRE(status["nodes"].size() == 2);
  CHECK(status["nodes"][1]["node"] == "n1");
  REQUIRE(status["nodes"][0]["processes"].size() == 4);
  CHECK(Process(status, 0, 0)["kind"] == "agent");
  CHECK(Process(status, 0, 1)["kind"] == "server");
  const json& worker = Process(status, 1, 3);
  CHECK(worker["name"] == "worker 1");
  CHECK(worker["state"] == "waiting");
  CHECK(worker["samples"] == 256);
  CHECK(worker["seconds"]["learn"] == 2.0);
  CHECK(worker["restarts"] == 1);
  CHECK(worker["alive"] == true);
  CHECK(worker["memory_bytes"].get<int64_t>() > 0);
  CHECK(status["events"][0]["what"] == "worker 1 was started again");
  job.Unwatch();
  CHECK(job.Status()["nodes"].size() == 1);
}

TEST_CASE("a process that has ended is dead, whatever it said last") {
  Node node;
  node.board.SetMember(1, "worker 0", 0x3fffffff);  // no such pid
  node.trace.writer(1).SetState(ProcessState::kTraining);
  const json all = node.Gather("n0")->Processes();
  CHECK(all["processes"][2]["state"] == "dead");
  CHECK(all["processes"][2]["alive"] == false);
}

TEST_CASE("a trace reaches all nodes and brings their spans back") {
  Node own, other;
  auto remote = other.Gather("n1");
  JobTrace job({"ads", "/runs/ads"});
  job.Watch(own.Gather("n0"));
  CHECK(job.Order().empty());
  job.Trace(3600);
  remote->Obey(job.Order());
  CHECK(job.Order().empty());
  const int64_t now = Clock::Real()->NowNs();
  own.trace.writer(1).AddSpan(SpanOf(WorkerStage::kLearn), now, now + 1000);
  other.trace.writer(0).AddSpan(SpanOf(ServerStage::kPush), now + 5000, now + 7000, 2);
  job.Put(1, remote->Report());
  ChromeTrace trace;
  trace.Add(job.TakeSpans());
  trace.Add(job.TakeSpans());
  CHECK(trace.spans() == 2);
  const ScratchFolder scratch;
  trace.Write(scratch.path() + "/trace.json");
  const json file = json::parse(ReadFile(scratch.path() + "/trace.json"));
  std::map<std::string, json> spans;
  for (const json& e : file["traceEvents"]) {
    if (e["ph"] == "X") spans[e["name"]] = e;
  }
  CHECK(spans["push"]["dur"] == 2.0);
  CHECK(spans["push"]["tid"] == 2);
  CHECK(std::abs(spans["push"]["ts"].get<double>() - spans["learn"]["ts"].get<double>() - 5) <
        1000);
  CHECK(spans["push"]["pid"] != spans["learn"]["pid"]);
}

TEST_CASE("who asks a job over its socket is answered, and heard when it shall stop") {
  const ScratchFolder scratch;
  const std::string run =
      scratch.path() + "/" + std::string(120, 'x');  // longer than a socket's path
  const RunDirectory directory(run, false);
  WriteFileAtomic(run + "/status.sock", "left by a job that was killed");
  JobTrace job({"ads", run});
  std::atomic<int> stops{0};
  {
    const StatusServer server(run, &job, [&stops] { ++stops; });
    struct stat info;
    REQUIRE(lstat((run + "/status.sock").c_str(), &info) == 0);
    CHECK(S_ISSOCK(info.st_mode));
    CHECK((info.st_mode & 0777) == 0600);
    StatusClient client(run), another(run);
    CHECK((*client.Ask({{"ask", "status"}}))["job"] == "ads");
    CHECK(client.Ask({{"ask", "trace"}, {"seconds", 1}}) == json::object());
    CHECK(another.Ask({{"ask", "spans"}}) == json::array());
    CHECK(Code([&] {
            client.Ask({{"ask", "money"}});
          }).find("one asks for status") != std::string::npos);
    CHECK(Code([&] { client.Ask(json::array({1})); }).substr(0, 2) == "74");
    CHECK(stops == 0);
    client.Ask({{"ask", "stop"}});
    CHECK(stops == 1);
    CHECK(Code([&] { client.Ask({{"ask", std::string(8192, 'x')}}); }) != "");
  }
  CHECK_FALSE(fs::exists(run + "/status.sock"));
  CHECK(Code([&] { StatusClient client(run); }).find("runs it, but cannot be asked") !=
        std::string::npos);
}

TEST_CASE("a run that has ended says how, and one that never was is a mistake") {
  const ScratchFolder scratch;
  const std::string run = scratch.path() + "/run";
  CHECK(Code([&] { StatusClient client(run); }) ==
        StrCat("64 ", run, ": no run was started there"));
  { const RunDirectory directory(run, false); }
  StatusClient killed(run);
  CHECK_FALSE(killed.connected());
  CHECK_FALSE(killed.Ask({{"ask", "status"}}).has_value());
  CHECK(killed.AwaitEnd().ToString() == "killed (exit code 137)");
  WriteFileAtomic(run + "/summary.json",
                  R"({"status": "failed", "exit_code": 77, "error": "why"})");
  CHECK(StatusClient(run).AwaitEnd().ToString() == "failed (exit code 77): why");
  CHECK(Code([] { FindRun("", ""); }).substr(0, 2) == "64");
  CHECK(Code([] { FindRun("a", "b"); }).substr(0, 2) == "64");
  CHECK(FindRun("", "no such job") == "runs/no such job");
  CHECK(FindRun("", run) == run);
}

TEST_CASE("the table shows what happened since the status before, within the terminal's width") {
  Node node;
  JobTrace job({"ads", "/runs/ads"});
  job.Update([](JobTrace::Facts* f) { f->epochs = 2, f->samples = 500, f->epoch_samples = 1000; });
  job.Watch(node.Gather("n0"));
  json before = job.Status();
  node.progress.Count(0, 3000, 0, 0);
  node.progress.AddNs(0, WorkerStage::kLearn, 1'000'000'000);
  node.progress.AddNs(0, WorkerStage::kData, 500'000'000);
  TraceWriter writer = node.trace.writer(1);
  writer.AddKeys(1000, 1000);
  for (int i = 0; i < 98; ++i) writer.AddStaleness(1);
  for (int i = 0; i < 2; ++i) writer.AddStaleness(6);
  json now = job.Status();
  before["nodes"][0]["now_ns"] = now["nodes"][0]["now_ns"].get<int64_t>() - 2'000'000'000;
  AddRates(before, &now);
  const json& worker = Process(now, 0, 2);
  CHECK(worker["samples_per_second"] == 1500.0);
  CHECK(worker["keys_per_second"] == 1000.0);
  CHECK(worker["shares"]["learn"] == 0.5);
  CHECK(worker["staleness_median"] == 1);
  CHECK(worker["staleness_p99"] == 7);
  CHECK_FALSE(Process(now, 0, 3).contains("staleness_median"));
  for (const int columns : {40, 60, 80, 100, 160, 300}) {
    for (const std::string& line : RenderStatus(now, {columns, false})) {
      CHECK(line.size() <= static_cast<size_t>(columns));
    }
  }
  const std::vector<std::string> lines = RenderStatus(now, {120, false});
  CHECK(lines[0].find("ads  start  epoch 1/2  50%") == 0);
  CHECK(lines[4].find("worker 0") == 0);
  CHECK(lines[4].find("1.50k") != std::string::npos);
  CHECK(lines[4].find("1/7") != std::string::npos);
  const size_t d = static_cast<size_t>(std::count(lines[4].begin() + 30, lines[4].end(), 'l'));
  CHECK(d > 8);
  CHECK(RenderStatus(now, {120, false, 5}).size() == 5);
  CHECK(RenderStatus(now, {120, true})[4].find("\033[") != std::string::npos);
  CHECK(lines[4].find('\033') == std::string::npos);
}
