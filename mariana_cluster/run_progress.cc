#include "mariana_cluster/run_progress.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>

#include "mariana_cluster/process/board.h"

namespace mariana {
namespace {

constexpr int kStages = static_cast<int>(WorkerStage::kCount);
constexpr int kMaxLanes = 1024;

}  // namespace

const char* Name(WorkerStage stage) {
  switch (stage) {
    case WorkerStage::kData: return "data";
    case WorkerStage::kWait: return "wait";
    case WorkerStage::kLearn: return "learn";
    case WorkerStage::kGather: return "gather";
    case WorkerStage::kForward: return "forward";
    case WorkerStage::kBackward: return "backward";
    case WorkerStage::kApply: return "apply";
    case WorkerStage::kDense: return "dense";
    case WorkerStage::kCount: break;
  }
  return "?";
}

struct RunProgress::Shared {
  int32_t workers, lanes;
  alignas(64) std::atomic<int64_t> steps;
  std::atomic<int64_t> stride;
  std::atomic<int64_t> limit;
  struct alignas(64) Worker {
    std::atomic<int64_t> steps, samples;
    std::atomic<double> loss, weight;
    std::atomic<int64_t> ns[kStages];
  } worker[kMaxMembers];
  std::atomic<int64_t> lane_end[kMaxLanes];
};

RunProgress RunProgress::Create(int workers, int lanes) {
  CHECK(workers > 0 && workers <= kMaxMembers && lanes >= 0 && lanes <= kMaxLanes);
  RunProgress p(SharedMemory::Create("mariana progress", sizeof(Shared)));
  p.memory_.Commit(0, sizeof(Shared));
  p.shared_->workers = workers;
  p.shared_->lanes = lanes;
  p.shared_->stride = 1;
  p.ClearLaneEnds();
  return p;
}

RunProgress RunProgress::Attach(int fd) {
  return RunProgress(SharedMemory::Attach(fd, "mariana progress"));
}

RunProgress::RunProgress(SharedMemory memory)
    : memory_(std::move(memory)), shared_(reinterpret_cast<Shared*>(memory_.data())) {}

bool RunProgress::TakeStep(int64_t* step) {
  const int64_t stride = shared_->stride.load(std::memory_order_relaxed);
  int64_t next = shared_->steps.load(std::memory_order_relaxed);
  while (next < shared_->limit.load(std::memory_order_relaxed)) {
    if (shared_->steps.compare_exchange_weak(next, next + stride, std::memory_order_relaxed)) {
      *step = next;
      return true;
    }
  }
  return false;
}

int64_t RunProgress::steps() const { return shared_->steps.load(std::memory_order_relaxed); }
void RunProgress::SetSteps(int64_t next, int64_t stride) {
  shared_->stride = stride;
  shared_->steps = next;
}
int64_t RunProgress::BegunSince(int64_t step) const {
  return steps() - step - shared_->stride.load(std::memory_order_relaxed);
}
bool RunProgress::AtLimit() const { return steps() >= shared_->limit.load(); }
void RunProgress::SetLimit(int64_t limit) { shared_->limit = limit; }

void RunProgress::Count(int worker, int64_t samples, double loss, double weight) {
  Shared::Worker& w = shared_->worker[worker];
  const auto add = [](auto* counter, auto n) {
    counter->store(counter->load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  };
  add(&w.samples, samples);
  add(&w.loss, loss);
  add(&w.weight, weight);
  add(&w.steps, int64_t{1});
}

void RunProgress::AddNs(int worker, WorkerStage stage, int64_t ns) {
  std::atomic<int64_t>& sum = shared_->worker[worker].ns[static_cast<int>(stage)];
  sum.store(sum.load(std::memory_order_relaxed) + ns, std::memory_order_relaxed);
}

RunProgress::Totals RunProgress::worker(int worker) const {
  const Shared::Worker& w = shared_->worker[worker];
  Totals one;
  one.steps = w.steps.load(std::memory_order_relaxed);
  one.samples = w.samples.load(std::memory_order_relaxed);
  one.loss = w.loss.load(std::memory_order_relaxed);
  one.weight = w.weight.load(std::memory_order_relaxed);
  for (int s = 0; s < kStages; ++s) {
    one.seconds[s] = static_cast<double>(w.ns[s].load(std::memory_order_relaxed)) * 1e-9;
  }
  return one;
}

void RunProgress::Totals::Add(const Totals& other) {
  steps += other.steps;
  samples += other.samples;
  loss += other.loss;
  weight += other.weight;
  for (int s = 0; s < kStages; ++s) seconds[s] += other.seconds[s];
}

RunProgress::Totals RunProgress::totals() const {
  Totals all;
  for (int i = 0; i < shared_->workers; ++i) all.Add(worker(i));
  return all;
}

void RunProgress::SetLaneEnd(int lane, int64_t round) {
  // A worker that takes another's place may come to the lane's end later than that one did.
  if (round >= shared_->lane_end[lane].load(std::memory_order_relaxed)) return;
  shared_->lane_end[lane].store(round, std::memory_order_release);
}

void RunProgress::ClearLaneEnds() {
  for (int i = 0; i < shared_->lanes; ++i) {
    shared_->lane_end[i] = std::numeric_limits<int64_t>::max();
  }
}

bool RunProgress::LanesEnded(int64_t round) const {
  return std::all_of(shared_->lane_end, shared_->lane_end + shared_->lanes,
                     [&](const auto& end) { return end.load(std::memory_order_acquire) <= round; });
}

}  // namespace mariana
