#include "mariana_cluster/process/board.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "mariana_cluster/process/futex.h"

namespace mariana {
namespace {

constexpr uint64_t kMagic = 0x3164726F4261614D;  // "Maboard1"
constexpr int64_t kPollNs = 2'000'000;
constexpr int64_t kLookAgainNs = 200'000'000;  // a wake-up that a killed process owed is made good

}  // namespace

struct Board::Shared {
  uint64_t magic;
  int32_t members;
  std::atomic<uint32_t> news;  // counts announcements: the futex
  std::atomic<uint32_t> waiters;
  std::atomic<uint32_t> stop;
  std::atomic<uint32_t> failed;
  char why[512];
  struct alignas(64) Member {
    std::atomic<int64_t> clock;
    std::atomic<int32_t> pid, starts;
    std::atomic<uint32_t> beats;
    char name[40];
  } member[kMaxMembers];
};

Board Board::Create(int members) {
  CHECK(members > 0 && members <= kMaxMembers) << members;
  Board board(SharedMemory::Create("mariana board", sizeof(Shared)));
  board.memory_.Commit(0, sizeof(Shared));
  board.shared_->magic = kMagic;
  board.shared_->members = members;
  return board;
}

Board Board::Attach(int fd) {
  Board board(SharedMemory::Attach(fd, "mariana board"));
  CHECK_EQ(board.shared_->magic, kMagic) << "descriptor " << fd << " is no board";
  return board;
}

Board::Board(SharedMemory memory)
    : memory_(std::move(memory)), shared_(reinterpret_cast<Shared*>(memory_.data())) {}

int Board::members() const { return shared_->members; }

void Board::SetMember(int member, const std::string& name, int pid) {
  Shared::Member& m = shared_->member[member];
  // Once: others may read it.
  if (m.pid == 0) std::snprintf(m.name, sizeof(m.name), "%s", name.c_str());
  m.starts.fetch_add(1, std::memory_order_relaxed);
  m.pid.store(pid, std::memory_order_release);
}

std::string Board::name(int member) const { return shared_->member[member].name; }
int Board::pid(int member) const {
  return shared_->member[member].pid.load(std::memory_order_acquire);
}
int Board::starts(int member) const {
  return shared_->member[member].starts.load(std::memory_order_relaxed);
}

std::string Board::Describe(int member) const {
  const Shared::Member& m = shared_->member[member];
  const int pid = m.pid.load(std::memory_order_acquire);
  return pid == 0 ? StrCat("member ", member) : StrCat(m.name, " (pid ", pid, ")");
}

void Board::Fail(const std::string& why) {
  if (shared_->failed.load() == 0)
    std::snprintf(shared_->why, sizeof(shared_->why), "%s", why.c_str());
  shared_->failed.store(1, std::memory_order_release);
  Announce();
}

void Board::ThrowIfFailed() const {
  if (shared_->failed.load(std::memory_order_acquire) != 0) {
    throw Error(ExitCode::kLostWorkers, shared_->why);
  }
}

void Board::RequestStop(int signal) {
  uint32_t none = 0;
  shared_->stop.compare_exchange_strong(none, static_cast<uint32_t>(signal));
  Announce();
}

int Board::stop_signal() const {
  return static_cast<int>(shared_->stop.load(std::memory_order_relaxed));
}

void Board::Beat(int member) { shared_->member[member].beats.fetch_add(1); }
uint32_t Board::beats(int member) const { return shared_->member[member].beats.load(); }

int64_t Board::clock(int member) const {
  return shared_->member[member].clock.load(std::memory_order_acquire);
}

void Board::SetClock(int member, int64_t clock) {
  shared_->member[member].clock.store(clock, std::memory_order_release);
  Announce();
}

void Board::Advance(int member) {
  shared_->member[member].clock.fetch_add(1, std::memory_order_acq_rel);
  Announce();
}

void Board::Leave(int member) { SetClock(member, std::numeric_limits<int64_t>::max()); }

bool Board::HasLeft(int member) const {
  return clock(member) == std::numeric_limits<int64_t>::max();
}

int64_t Board::Slowest(int first, int count) const {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int m = first; m < first + count; ++m) least = std::min(least, clock(m));
  return least;
}

void Board::WaitForSlowest(int first, int count, int64_t clock) {
  if (Slowest(first, count) >= clock) return ThrowIfFailed();
  int slowest = first;
  for (int m = first; m < first + count; ++m) {
    if (this->clock(m) < this->clock(slowest)) slowest = m;
  }
  Wait([&] { return Slowest(first, count) >= clock; },
       StrCat(Describe(slowest), " to reach step ", clock));
}

void Board::Announce() {
  // Both sides put the announcement in one total order with the count of waiters: either we see
  // the waiter, or it sees the news and does not sleep.
  shared_->news.fetch_add(1);
  if (shared_->waiters.load() > 0) FutexWakeAll(&shared_->news);
}

void Board::Wait(const std::function<bool()>& done, const std::string& for_what) {
  const double deadline = Clock::Real()->NowSeconds() + patience_seconds_;
  for (;;) {
    const uint32_t seen = shared_->news.load();
    ThrowIfFailed();
    if (done()) return;
    if (Clock::Real()->NowSeconds() > deadline) {
      throw mariana::Fail(ExitCode::kLostWorkers, "waited ", patience_seconds_, " s in vain for ",
                          for_what);
    }
    shared_->waiters.fetch_add(1);
    FutexWait(&shared_->news, seen, kLookAgainNs);
    shared_->waiters.fetch_sub(1);
  }
}

void Board::Poll(const std::function<bool()>& done) {
  for (;; Clock::Real()->SleepFor(kPollNs)) {
    ThrowIfFailed();
    if (done()) return;
  }
}

}  // namespace mariana
