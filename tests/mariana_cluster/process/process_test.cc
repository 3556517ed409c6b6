// Jobs of real processes: work, deaths, stops, waiting; and the order of deterministic updates.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/train/signals.h"
#include "mariana_cluster/process/agent.h"
#include "mariana_cluster/process/ordered_updates.h"
#include "mariana_cluster/table/table.h"

namespace mariana {
namespace {

constexpr char kProgram[] = "tests/mariana_cluster/process/member_program";
constexpr int64_t kLongMs = 60000;  // never waited for in full

TableSpec Spec(RowOptimizer optimizer) {
  TableSpec spec;
  spec.name = "t";
  spec.bits = 14;
  spec.parts.resize(1);
  spec.parts[0].name = "w";
  spec.parts[0].optimizer.type = optimizer;
  spec.parts[0].optimizer.learning_rate = 1;
  return spec;
}

// Starts members and waits until each has said "ready"; their pids.
std::vector<pid_t> StartReady(Agent* agent, int count) {
  std::vector<pid_t> pids(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) agent->Start({StrCat("worker ", i), {"wait"}});
  for (int ready = 0; ready < count; ++ready) {
    const Agent::Event e = agent->Next(kLongMs);
    REQUIRE(e.kind == Agent::Event::Kind::kMessage);
    pids[static_cast<size_t>(e.member)] = static_cast<pid_t>(e.message.number);
  }
  return pids;
}

ExitCode CodeOf(Agent* agent, std::string* message) {
  for (;;) {
    try {
      agent->Next(kLongMs);
    } catch (const Error& e) {
      *message = e.message();
      return e.code();
    }
  }
}

bool IsGone(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

TEST_CASE("members answer the agent, and work in memory that it sent them") {
  auto shard = std::make_shared<TableShard>(TableShard::Create(Spec(RowOptimizer::kSgd), 0, 1));
  Agent agent(2, kProgram);
  for (int i = 0; i < 2; ++i) agent.Start({StrCat("worker ", i), {"work"}});
  agent.SendAll({"table", 0, "", {shard->fd()}});
  int64_t next = 0;
  const auto ask = [&](int member) {
    agent.Send(member, {next < 200 ? "work" : "end", next, "", {}});
    ++next;
  };
  for (const int member : {0, 1}) ask(member);
  for (int ended = 0; ended < 2;) {
    const Agent::Event e = agent.Next(kLongMs);
    if (e.kind == Agent::Event::Kind::kMessage) {
      ask(e.member);
    } else {
      REQUIRE(e.kind == Agent::Event::Kind::kEnded);
      ++ended;
    }
  }
  CHECK(agent.running() == 0);
  for (uint64_t i = 0; i < 200; ++i) {
    const uint64_t key = i << 50;
    char* row;
    float value;
    shard->Locate(&key, 1, Missing::kSkip, &row);
    shard->Gather(&row, 1, &value);
    CHECK(value == 1);
  }
}

Agent::Event NextLoss(Agent* agent) {
  for (;;) {
    const Agent::Event e = agent->Next(kLongMs);
    if (e.kind == Agent::Event::Kind::kLost) return e;
    REQUIRE(e.kind != Agent::Event::Kind::kEnded);
  }
}

TEST_CASE("a killed member is told of and can be started again; the others do not notice") {
  Agent agent(3, kProgram);
  const std::vector<pid_t> pids = StartReady(&agent, 3);
  kill(pids[1], SIGKILL);
  const Agent::Event lost = NextLoss(&agent);
  CHECK(lost.member == 1);
  CHECK(lost.how == StrCat("worker 1 (pid ", pids[1], ") was killed by signal 9 (SIGKILL)"));
  CHECK(IsGone(pids[1]));
  CHECK(agent.board()->HasLeft(1));
  agent.Restart(1);
  const Agent::Event again = agent.Next(kLongMs);
  REQUIRE(again.kind == Agent::Event::Kind::kMessage);
  CHECK(again.member == 1);
  CHECK(again.message.number == agent.pid(1));
  CHECK(agent.running() == 3);
}

TEST_CASE("a stopped member is killed and told of") {
  Agent agent(2, kProgram);
  const std::vector<pid_t> pids = StartReady(&agent, 2);
  kill(pids[0], SIGSTOP);
  const Agent::Event lost = NextLoss(&agent);
  CHECK(lost.how == StrCat("worker 0 (pid ", pids[0], ") was stopped (SIGSTOP)"));
  CHECK(IsGone(pids[0]));
  CHECK(agent.running(1));
}

TEST_CASE("the end of a job leaves nobody behind, and nobody waiting") {
  Agent agent(2, kProgram);
  const std::vector<pid_t> pids = StartReady(&agent, 2);
  CHECK_THROWS_WITH(agent.End(Error(ExitCode::kLostWorkers, "too many are gone")),
                    "too many are gone");
  for (const pid_t pid : pids) CHECK(IsGone(pid));
  CHECK_THROWS_WITH(agent.board()->Wait([] { return false; }, "anything"), "too many are gone");
}

TEST_CASE("a member's own error, a crash and a bare exit code are told apart") {
  struct Case {
    const char* what;
    ExitCode code;
    const char* says;
  };
  for (const Case& c : {Case{"fail", ExitCode::kBadData, "): part-7.tsv:12: no label"},
                        Case{"crash", ExitCode::kInternal, "crashed with signal 6 (SIGABRT)"},
                        Case{"exit", ExitCode::kInternal, "ended with exit code 3"}}) {
    Agent agent(2, kProgram);
    const std::vector<pid_t> pids = StartReady(&agent, 1);
    agent.Start({"worker 1", {c.what}});
    std::string message;
    CHECK(CodeOf(&agent, &message) == c.code);
    CHECK_THAT(message, Catch::Contains(c.says) && Catch::StartsWith("worker 1 (pid "));
    CHECK(IsGone(pids[0]));
  }
  Agent agent(1, "no/such/program");
  agent.Start({"worker 0", {}});
  std::string message;
  CHECK(CodeOf(&agent, &message) == ExitCode::kInternal);
  CHECK_THAT(message, Catch::Contains("exit code 127"));
}

TEST_CASE("a stop signal to the agent or to any member stops them all, once") {
  const bool to_agent = GENERATE(true, false);
  Agent agent(2, kProgram);
  const std::vector<pid_t> pids = StartReady(&agent, 2);
  if (to_agent) {
    RequestStop(SIGUSR1);
  } else {
    kill(pids[1], SIGUSR1);
  }
  int stops = 0, ended = 0;
  while (ended < 2) {
    const Agent::Event e = agent.Next(kLongMs);
    stops += e.kind == Agent::Event::Kind::kStop && e.signal == SIGUSR1 ? 1 : 0;
    ended += e.kind == Agent::Event::Kind::kEnded ? 1 : 0;
    REQUIRE(e.kind != Agent::Event::Kind::kTimeout);
  }
  CHECK(stops == 1);
  CHECK(agent.board()->stop_signal() == SIGUSR1);
  ForgetStopRequest();
}

TEST_CASE("members do not outlive a killed agent") {
  int report[2];
  REQUIRE(pipe(report) == 0);
  const pid_t killed = fork();
  REQUIRE(killed >= 0);
  if (killed == 0) {
    Agent agent(2, kProgram);
    const std::vector<pid_t> pids = StartReady(&agent, 2);
    const ssize_t n = write(report[1], pids.data(), 2 * sizeof(pid_t));
    pause();
    _exit(static_cast<int>(n));
  }
  pid_t pids[2];
  REQUIRE(read(report[0], pids, sizeof(pids)) == static_cast<ssize_t>(sizeof(pids)));
  pollfd watch[2];
  for (int i = 0; i < 2; ++i) {
    watch[i] = {static_cast<int>(syscall(SYS_pidfd_open, pids[i], 0)), POLLIN, 0};
    REQUIRE(watch[i].fd >= 0);
  }
  kill(killed, SIGKILL);
  for (pollfd& w : watch) {
    CHECK(poll(&w, 1, kLongMs) == 1);
    close(w.fd);
  }
  int status;
  waitpid(killed, &status, 0);
  close(report[0]);
  close(report[1]);
}

TEST_CASE(
    "no worker runs ahead of the slowest by more than the bound, and leavers hold nobody up") {
  const int bound = GENERATE(0, 2);
  Board board = Board::Create(3);
  std::atomic<int64_t> steps[3] = {};
  std::atomic<int64_t> worst{0};
  std::vector<std::thread> threads;
  for (int me = 0; me < 3; ++me) {
    threads.emplace_back([&, me] {
      const int64_t mine = me == 0 ? 20 : 60;  // one has less to do
      for (int64_t step = 0; step < mine; ++step) {
        board.WaitForSlowest(0, 3, step - bound);
        for (int other = 0; other < 3; ++other) {
          if (other == 0 && steps[0] == 20) continue;
          worst = std::max<int64_t>(worst, step - steps[other]);
        }
        ++steps[me];
        board.Advance(me);
      }
      board.Leave(me);
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(steps[2] == 60);
  CHECK(worst <= bound);
}

TEST_CASE("whoever waits for a dead member hears of it, or gives up naming it") {
  Board board = Board::Create(2);
  board.SetMember(1, "worker 1", 4711);
  std::string heard;
  std::thread waiter([&] {
    try {
      board.WaitForSlowest(1, 1, 5);
    } catch (const Error& e) {
      heard = e.message();
    }
  });
  board.Fail("worker 1 (pid 4711) was killed");
  waiter.join();
  CHECK(heard == "worker 1 (pid 4711) was killed");
  Board patient = Board::Create(1);
  patient.set_patience_seconds(0);
  patient.SetMember(0, "server 0", 12);
  CHECK_THROWS_WITH(patient.WaitForSlowest(0, 1, 5),
                    Catch::Contains("for server 0 (pid 12) to reach step 5"));
}

// One run: rounds of 4 blocks of colliding keys, workers and servers as threads with mappings of
// their own. Gradients depend on the weights, so any other order gives other bits.
std::vector<float> Train(int workers, int servers) {
  constexpr int kBlocks = 4, kRounds = 6, kKeys = 64;
  std::vector<std::shared_ptr<TableShard>> shards;
  for (int s = 0; s < servers; ++s) {
    TableSpec spec = Spec(RowOptimizer::kAdaGrad);
    spec.parts[0].init = 0.5;
    shards.push_back(std::make_shared<TableShard>(TableShard::Create(spec, s, servers)));
  }
  std::vector<uint64_t> keys;
  for (uint64_t i = 0; i < kKeys; ++i) keys.push_back(i * 0x9E3779B97F4A7C15u);
  Board board = Board::Create(1);
  OrderedUpdates updates = OrderedUpdates::Create(kBlocks, servers, 1 << 20);
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < workers; ++w) {
    threads.emplace_back([&] {
      Table table(shards);
      OrderedUpdates mine = OrderedUpdates::Attach(dup(updates.fd()));
      // Whoever is free takes the next block.
      for (int i = next++; mine.Await(&board, i / kBlocks) && i < kRounds * kBlocks; i = next++) {
        std::vector<char*> rows(kKeys);
        std::vector<float> v(kKeys);
        table.Locate(keys.data(), kKeys, Missing::kSkip, rows.data());
        table.Gather(rows.data(), kKeys, v.data());
        std::vector<std::string> sections(static_cast<size_t>(servers));
        for (int k = 0; k < kKeys; ++k) {
          const float g = v[k] * ToUnit(Philox(5, i, k).v[0]) + 0.1f * ToUnit(Philox(6, i, k).v[0]);
          std::string& to = sections[TableShard::ShardOf(keys[k], servers)];
          to.append(reinterpret_cast<const char*>(&keys[k]), 8);
          to.append(reinterpret_cast<const char*>(&g), 4);
        }
        if (i / kBlocks == kRounds - 1) mine.EndAfter(kRounds - 1);
        mine.Put(&board, i / kBlocks, i % kBlocks, {sections.begin(), sections.end()});
      }
    });
  }
  for (int s = 0; s < servers; ++s) {
    threads.emplace_back([&, s] {
      const auto apply = [&](int, std::string_view bytes) {
        for (size_t at = 0; at < bytes.size(); at += 12) {
          uint64_t key;
          float g;
          char* row;
          std::memcpy(&key, bytes.data() + at, 8);
          std::memcpy(&g, bytes.data() + at + 8, 4);
          shards[s]->Locate(&key, 1, Missing::kSkip, &row);
          shards[s]->Apply(&row, 1, &g);
        }
      };
      OrderedUpdates mine = OrderedUpdates::Attach(dup(updates.fd()));
      for (int64_t round = 0; mine.Apply(&board, s, round, apply); ++round) {
      }
    });
  }
  for (std::thread& t : threads) t.join();
  Table table(shards);
  std::vector<char*> rows(kKeys);
  std::vector<float> values(kKeys);
  table.Locate(keys.data(), kKeys, Missing::kSkip, rows.data());
  table.Gather(rows.data(), kKeys, values.data());
  return values;
}

TEST_CASE("ordered updates give the same bits with any number of workers and servers") {
  const std::vector<float> one = Train(1, 1);
  CHECK(*std::max_element(one.begin(), one.end()) != *std::min_element(one.begin(), one.end()));
  CHECK(Train(2, 1) == one);
  CHECK(Train(2, 2) == one);
  CHECK(Train(3, 3) == one);
}

}  // namespace
}  // namespace mariana
