#include "mariana_cluster/control/lane_queue.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "mariana_cluster/process/board.h"

namespace mariana {
namespace {

enum Kind : uint32_t { kWaiting, kTaken, kEnded, kElsewhere };
// A lane's word: its kind and, where it is taken, by whom.
constexpr uint32_t Word(Kind kind, int worker = 0) {
  return kind | static_cast<uint32_t>(worker) << 8;
}
Kind KindOf(uint32_t word) { return static_cast<Kind>(word & 0xFF); }
int WorkerOf(uint32_t word) { return static_cast<int>(word >> 8); }

}  // namespace

struct LaneQueue::Lane {
  alignas(64) std::atomic<int64_t> batches;
  std::atomic<uint32_t> word;
  std::atomic<int32_t> home;  // the worker that has, or had, or is dealt it
};

struct LaneQueue::Shared {
  int32_t workers;
  std::atomic<int32_t> lanes;
  std::atomic<bool> gone[kMaxMembers];  // workers
  Lane lane[kMaxLanes];
};

LaneQueue LaneQueue::Create(int workers) {
  CHECK(workers > 0 && workers <= kMaxMembers) << workers;
  LaneQueue queue(SharedMemory::Create("mariana lanes", sizeof(Shared)));
  queue.memory_.Commit(0, sizeof(Shared));
  queue.shared_->workers = workers;
  return queue;
}

LaneQueue LaneQueue::Attach(int fd) { return LaneQueue(SharedMemory::Attach(fd, "mariana lanes")); }

LaneQueue::LaneQueue(SharedMemory memory)
    : memory_(std::move(memory)), shared_(reinterpret_cast<Shared*>(memory_.data())) {}

void LaneQueue::Begin(const std::vector<LanePosition>& lanes, const std::vector<int>& here) {
  CHECK(!lanes.empty() && lanes.size() <= static_cast<size_t>(kMaxLanes)) << lanes.size();
  const bool dealt = shared_->lanes == static_cast<int>(lanes.size());
  for (size_t i = 0; i < lanes.size(); ++i) {
    shared_->lane[i].batches = lanes[i].batches;
    shared_->lane[i].word = lanes[i].ended ? Word(kEnded) : Word(kElsewhere);
    if (!dealt) shared_->lane[i].home = kNone;
  }
  int next = 0;
  for (const int l : here) {
    Lane& lane = shared_->lane[l];
    if (lane.home == kNone) lane.home = next++ % shared_->workers;
    if (KindOf(lane.word) == kElsewhere) lane.word = Word(kWaiting);
  }
  shared_->lanes = static_cast<int>(lanes.size());
}

int LaneQueue::lanes() const { return shared_->lanes; }

LanePosition LaneQueue::position(int lane) const {
  const Lane& l = shared_->lane[lane];
  return {l.batches.load(), KindOf(l.word) == kEnded};
}

std::vector<LanePosition> LaneQueue::positions() const {
  std::vector<LanePosition> all;
  for (int l = 0; l < lanes(); ++l) all.push_back(position(l));
  return all;
}

int LaneQueue::waiting() const {
  return static_cast<int>(std::count_if(shared_->lane, shared_->lane + lanes(),
                                        [](const Lane& l) { return KindOf(l.word) == kWaiting; }));
}

int LaneQueue::taken() const {
  return static_cast<int>(std::count_if(shared_->lane, shared_->lane + lanes(),
                                        [](const Lane& l) { return KindOf(l.word) == kTaken; }));
}

std::vector<int> LaneQueue::here() const {
  std::vector<int> all;
  for (int l = 0; l < lanes(); ++l) {
    if (KindOf(shared_->lane[l].word) != kElsewhere) all.push_back(l);
  }
  return all;
}

std::vector<int> LaneQueue::HandBack(int worker) {
  std::vector<int> back;
  shared_->gone[worker] = true;
  for (int l = 0; l < lanes(); ++l) {
    uint32_t taken = Word(kTaken, worker);
    if (shared_->lane[l].word.compare_exchange_strong(taken, Word(kWaiting))) back.push_back(l);
  }
  return back;
}

// From the worker with the most, so that none of them has to wait for it.
int LaneQueue::Release() {
  std::vector<int> left(static_cast<size_t>(shared_->workers), 0);
  int chosen = kNone;
  for (int l = 0; l < lanes(); ++l) {
    if (KindOf(shared_->lane[l].word) != kWaiting || shared_->lane[l].batches > 0) continue;
    const int home = shared_->lane[l].home;
    if (++left[static_cast<size_t>(home)] >= *std::max_element(left.begin(), left.end())) {
      chosen = l;
    }
  }
  if (chosen == kNone) return kNone;
  uint32_t waits = Word(kWaiting);
  if (!shared_->lane[chosen].word.compare_exchange_strong(waits, Word(kElsewhere))) return kNone;
  shared_->lane[chosen].home = kNone;
  return chosen;
}

void LaneQueue::Accept(int lane, int64_t batches) {
  Lane& l = shared_->lane[lane];
  CHECK(KindOf(l.word) == kElsewhere) << lane;
  l.batches = batches;
  l.home = kNone;
  l.word.store(Word(kWaiting), std::memory_order_release);
}

void LaneQueue::EndElsewhere() {
  for (int l = 0; l < lanes(); ++l) {
    uint32_t elsewhere = Word(kElsewhere);
    shared_->lane[l].word.compare_exchange_strong(elsewhere, Word(kEnded));
  }
}

int LaneQueue::Choose(int worker) const {
  const int workers = shared_->workers;
  std::vector<int> waits(static_cast<size_t>(workers), 0), last(waits.size(), kNone);
  std::vector<char> busy(waits.size(), 0);
  for (int l = 0; l < lanes(); ++l) {
    const Lane& lane = shared_->lane[l];
    const uint32_t word = lane.word.load(std::memory_order_acquire);
    const int home = lane.home;
    if (KindOf(word) == kTaken) busy[static_cast<size_t>(WorkerOf(word))] = 1;
    if (KindOf(word) != kWaiting) continue;
    if (home == worker || home == kNone) return l;
    ++waits[static_cast<size_t>(home)];
    last[static_cast<size_t>(home)] = l;
  }
  int most = 0, chosen = kNone;
  for (size_t w = 0; w < waits.size(); ++w) {
    if (waits[w] <= most || (!busy[w] && !shared_->gone[w])) continue;  // it will come for it
    most = waits[w];
    chosen = last[w];
  }
  return chosen;
}

int LaneQueue::Take(int worker) {
  shared_->gone[worker] = false;
  for (;;) {
    const int lane = Choose(worker);
    if (lane == kNone) return kNone;
    uint32_t waits = Word(kWaiting);
    if (!shared_->lane[lane].word.compare_exchange_strong(waits, Word(kTaken, worker),
                                                          std::memory_order_acq_rel)) {
      continue;  // another was faster
    }
    shared_->lane[lane].home = worker;
    return lane;
  }
}

void LaneQueue::Count(int lane) {
  std::atomic<int64_t>& batches = shared_->lane[lane].batches;
  batches.store(batches.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void LaneQueue::End(int lane) {
  shared_->lane[lane].word.store(Word(kEnded), std::memory_order_release);
}

bool LaneQueue::AllEnded() const {
  return std::all_of(shared_->lane, shared_->lane + lanes(), [](const Lane& l) {
    return KindOf(l.word.load(std::memory_order_acquire)) == kEnded;
  });
}

}  // namespace mariana
