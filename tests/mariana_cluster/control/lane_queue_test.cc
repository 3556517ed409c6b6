// Who gets which lane, and what becomes of it when its worker dies or another node wants it.
#include "mariana_cluster/control/lane_queue.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

namespace mariana {
namespace {

constexpr int kNone = LaneQueue::kNone;

std::vector<int> All(int lanes) {
  std::vector<int> all(static_cast<size_t>(lanes));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

void Begin(LaneQueue* queue, int lanes) {
  queue->Begin(std::vector<LanePosition>(static_cast<size_t>(lanes)), All(lanes));
}

TEST_CASE("each worker has its own lanes first, in every epoch, and helps those that are busy") {
  LaneQueue queue = LaneQueue::Create(2);
  Begin(&queue, 5);
  CHECK(queue.Take(0) == 0);
  CHECK_FALSE(queue.AllEnded());
  CHECK(queue.Take(1) == 1);
  queue.End(0);
  CHECK(queue.Take(0) == 2);
  queue.End(2);
  CHECK(queue.Take(0) == 4);
  queue.End(4);
  CHECK(queue.Take(0) == 3);  // worker 1's, who is busy with lane 1
  queue.End(3);
  CHECK(queue.Take(0) == kNone);
  queue.End(1);
  CHECK(queue.AllEnded());

  Begin(&queue, 5);
  CHECK(queue.Take(1) == 1);
  queue.End(1);
  CHECK(queue.Take(1) == kNone);         // worker 0 has just not come yet
  for (const int lane : {0, 2, 3, 4}) {  // 3 is worker 0's since it helped
    CHECK(queue.Take(0) == lane);
    queue.End(lane);
  }
  CHECK(queue.AllEnded());
}

TEST_CASE("a dead worker's lane goes on where it was, with whoever comes first") {
  LaneQueue queue = LaneQueue::Create(2), other = LaneQueue::Attach(dup(queue.fd()));
  Begin(&queue, 2);
  REQUIRE(other.Take(1) == 1);
  for (int i = 0; i < 7; ++i) other.Count(1);
  CHECK(queue.HandBack(1) == std::vector<int>{1});
  CHECK(queue.HandBack(1).empty());
  CHECK(queue.position(1).batches == 7);
  REQUIRE(queue.Take(0) == 0);
  queue.End(0);
  CHECK(queue.Take(0) == 1);
  CHECK(queue.position(1).batches == 7);
  CHECK(queue.position(0).ended);
  CHECK_FALSE(queue.position(1).ended);
}

TEST_CASE("an epoch goes on from positions on any number of workers") {
  for (const int workers : {1, 3, 7}) {
    LaneQueue queue = LaneQueue::Create(workers);
    queue.Begin({{4, false}, {9, true}, {0, false}}, All(3));
    std::set<int> taken;
    for (int w = 0; w < workers; ++w) {
      for (int lane; (lane = queue.Take(w)) != kNone; queue.End(lane)) taken.insert(lane);
    }
    CHECK(taken == std::set<int>{0, 2});
    CHECK(queue.AllEnded());
    CHECK(queue.position(0).batches == 4);
    CHECK(queue.position(1).batches == 9);
  }
}

TEST_CASE("lanes that have not begun move between nodes") {
  LaneQueue a = LaneQueue::Create(1), b = LaneQueue::Create(1);
  const std::vector<LanePosition> lanes(4);
  a.Begin(lanes, {0, 2});
  b.Begin(lanes, {1, 3});
  REQUIRE(a.Take(0) == 0);
  CHECK(a.waiting() == 1);
  a.End(0);
  REQUIRE(b.Take(0) == 1);
  CHECK(b.Release() == 3);
  CHECK(b.Release() == kNone);  // it has begun the other one
  a.Accept(3, 0);
  CHECK(a.Take(0) == 2);
  a.End(2);
  CHECK(a.Take(0) == 3);
  a.End(3);
  CHECK_FALSE(a.AllEnded());
  b.End(1);
  for (LaneQueue* queue : {&a, &b}) {
    queue->EndElsewhere();
    CHECK(queue->AllEnded());
  }
}

TEST_CASE(
    "workers that are killed and come again train on every batch once, or twice if in flight") {
  constexpr int kWorkers = 3, kLanes = 7, kKills = 20;
  constexpr int64_t kBatches = 400;
  LaneQueue queue = LaneQueue::Create(kWorkers);
  Begin(&queue, kLanes);
  const SharedMemory trained = SharedMemory::Create("trained", kLanes * kBatches);
  trained.Commit(0, kLanes * kBatches);
  const auto work = [&](int me) {
    while (!queue.AllEnded()) {
      const int lane = queue.Take(me);
      if (lane == kNone) {
        std::this_thread::yield();
        continue;
      }
      while (queue.position(lane).batches < kBatches) {
        ++trained.data()[lane * kBatches + queue.position(lane).batches];
        queue.Count(lane);
      }
      queue.End(lane);
    }
  };
  const auto start = [&](int me) {
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      work(me);
      _exit(0);
    }
    return pid;
  };
  std::vector<pid_t> pids;
  for (int w = 0; w < kWorkers; ++w) pids.push_back(start(w));
  int status;
  for (int k = 0; k < kKills; ++k) {
    pid_t& victim = pids[static_cast<size_t>(k % kWorkers)];
    kill(victim, SIGKILL);
    REQUIRE(waitpid(victim, &status, 0) == victim);
    queue.HandBack(k % kWorkers);
    victim = start(k % kWorkers);
  }
  for (const pid_t pid : pids) {
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
  }
  int64_t twice = 0;
  for (int64_t i = 0; i < kLanes * kBatches; ++i) {
    CHECK(trained.data()[i] >= 1);
    twice += trained.data()[i] - 1;
  }
  CHECK(twice <= kKills);
}

}  // namespace
}  // namespace mariana
