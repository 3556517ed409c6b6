// A worker of DataParallel that exchanges once in a block of steps (BlockSpec). See
// data_parallel.h.
#include <algorithm>
#include <cmath>

#include "common/train/sync_worker.h"

namespace mariana {

BlockGate::BlockGate(Clock* clock, int workers)
    : moved_(clock), at_(static_cast<size_t>(workers), 0) {}

void BlockGate::Reset(int64_t first_step) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::fill(at_.begin(), at_.end(), first_step);
}

void BlockGate::Pass(int local, int64_t step) {
  std::unique_lock<std::mutex> lock(mutex_);
  at_[static_cast<size_t>(local)] = step;
  moved_.NotifyAll();
  moved_.Wait(&lock,
              [&] { return open_ || *std::min_element(at_.begin(), at_.end()) >= step - 1; });
}

void BlockGate::Open() {
  std::lock_guard<std::mutex> lock(mutex_);
  open_ = true;
  moved_.NotifyAll();
}

// What local steps need beside the exchange: an optimizer over the whole arena, and where the
// block began.
void SyncWorker::MakeLocalOptimizer() {
  local_layout_ = PlanSlots(*net_, options_.optimizer, buckets_, 0, 1);
  for (int k = 0; k < OptimizerSlots(options_.optimizer); ++k) {
    local_slots_.emplace_back(device_, Dtype::kF32, Shape{net_->arena_elements()});
  }
  start_ = Tensor(device_, Dtype::kF32, Shape{net_->arena_elements()});
}

RunOutcome SyncWorker::RunBlocks(BatchSource* source, const RunOptions& run, int64_t* done,
                                 StepResult* result) {
  const int64_t size = options_.block.steps;
  for (int64_t step = run.first_step; step < run.last_step;) {
    const int64_t end = std::min((step / size + 1) * size, run.last_step);
    AwaitAll();
    // Neighbours read these values until they have all of theirs, too; local steps write them.
    std::vector<float> nothing;
    exchange_->GatherHost(nullptr, 0, &nothing);
    device_->Copy(start_.data(), net_->values(), start_.bytes());
    for (Tensor& slot : local_slots_) device_->Fill(slot.f32(), 0, slot.elements());
    CommitValues mine;
    int64_t rows = 0;  // of the block, over all workers
    for (int64_t s = step; s < end; ++s) rows += LocalStep(source, run, s, s - step + 1, &mine);
    mine.stop = run.stop_requested && run.stop_requested();
    result->step = end - 1;
    result->steps = end - step;
    const RunOutcome outcome = JoinBlock(rows, mine, result);
    if (outcome == RunOutcome::kDiverged) return outcome;
    result->learning_rate = run.learning_rate(end - 1);
    *done += end - step;
    step = end;
    if (index_ == options_.first() && run.on_step) run.on_step(*result);
    if (outcome == RunOutcome::kStopped) {
      AwaitAll();
      return outcome;
    }
  }
  AwaitAll();
  return RunOutcome::kDone;
}

// A step on this worker's share alone, as if that were the batch. `t` counts from the block's
// start, where the optimizer starts afresh. The rows of the whole batch.
int64_t SyncWorker::LocalStep(BatchSource* source, const RunOptions& run, int64_t step, int64_t t,
                              CommitValues* mine) {
  PhaseTimer timer(clock_);
  SetPhase("data");
  gate_->Pass(index_ - options_.first(), step);
  const int64_t rows = source->Rows(step);
  timer.Add(&seconds.data);
  const Share share = ShareOf(rows);
  ForwardBackward(source, step, share, share.rows, mine);
  if (share.rows == 0) return rows;
  timer = PhaseTimer(clock_);
  SetPhase("update");
  double scale = 1;
  if (const double clip = options_.optimizer.clip_norm; clip > 0) {
    const double norm = std::sqrt(device_->SumOfSquares(net_->grads(), net_->arena_elements()));
    if (norm > clip) scale = clip / norm;
  }
  const double learning_rate = run.learning_rate(step);
  for (const auto& list : local_layout_.buckets) {
    for (const Segment& s : list) {
      const int64_t i = s.range.begin;
      device_->Update(MakeOptimizerStep(options_.optimizer, learning_rate, t, scale, s.factors),
                      net_->grads() + i, net_->values() + i,
                      net_->values16() ? net_->values16() + i : nullptr,
                      local_slots_.empty() ? nullptr : local_slots_[0].f32() + s.slot_begin,
                      nullptr, s.range.size());
    }
  }
  if (net_->batch_stats_elements() > 0) {
    net_->UpdateRunning(batch_stats_.data(), GroupRows(share.rows));
  }
  timer.Add(&seconds.update);
  return rows;
}

// What the worker moved by in the block, against its direction and weighted by its samples, goes
// through the exchange as a gradient would; the owners' step is one of SGD at rate 1. That is
// blockwise model-update filtering: its filter is SGD's momentum.
RunOutcome SyncWorker::JoinBlock(int64_t rows, const CommitValues& sums, StepResult* result) {
  PhaseTimer timer(clock_);
  SetPhase("collect");
  const int64_t n = net_->arena_elements();
  const auto axpy = [&](double a, const float* x, float* y) {  // y -= a x
    OptimizerStep step;
    step.learning_rate = static_cast<float>(a);
    device_->Update(step, x, y, nullptr, nullptr, nullptr, n);
  };
  const double weight =
      static_cast<double>(sums.samples) / static_cast<double>(std::max<int64_t>(rows, 1));
  device_->Copy(net_->grads(), start_.data(), start_.bytes());
  axpy(1, net_->values(), net_->grads());
  device_->Copy(net_->values(), start_.data(), start_.bytes());
  device_->Fill(start_.f32(), 0, n);
  axpy(-weight, net_->grads(), start_.f32());
  device_->Copy(net_->grads(), start_.data(), start_.bytes());
  for (int b = static_cast<int>(buckets_.size()) - 1; b >= 0; --b) exchange_->Collect(b);
  exchange_->FinishCollect();
  timer.Add(&seconds.collect);

  SetPhase("commit");
  CommitValues mine = sums;
  TakeSums(&mine);
  const CommitValues all = exchange_->Commit(mine);
  result->samples = all.samples;
  result->correct = all.correct;
  result->loss = all.loss / static_cast<double>(std::max<int64_t>(all.samples, 1));
  if (!std::isfinite(all.loss) || !std::isfinite(all.squared_norm)) return RunOutcome::kDiverged;
  JoinRunningAverages(weight);
  timer.Add(&seconds.commit);

  SetPhase("update");
  OptimizerStep step;
  step.learning_rate = 1;
  step.momentum = static_cast<float>(options_.block.momentum);
  step.nesterov = options_.block.nesterov;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    for (const Segment& s : layout_.buckets[b]) {
      const int64_t i = s.range.begin;
      device_->Update(step, net_->grads() + i, net_->values() + i,
                      net_->values16() ? net_->values16() + i : nullptr, SlotAt(0, s), nullptr,
                      s.range.size());
    }
    exchange_->Distribute(static_cast<int>(b));
    awaiting_values_[b] = true;
  }
  timer.Add(&seconds.update);
  return all.stop ? RunOutcome::kStopped : RunOutcome::kDone;
}

// Running averages of batch normalisation: the mean over workers, weighted by samples.
void SyncWorker::JoinRunningAverages(double weight) {
  if (net_->batch_stats_elements() == 0) return;
  Tensor state = net_->state();
  const auto n = static_cast<size_t>(state.elements());
  std::vector<float> mine(n + 1), all, mean(n);
  state.Download(mine.data());
  mine[n] = static_cast<float>(weight);
  exchange_->GatherHost(mine.data(), static_cast<int64_t>(mine.size()), &all);
  for (size_t begin = 0; begin < all.size(); begin += n + 1) {
    for (size_t i = 0; i < n; ++i) mean[i] += all[begin + n] * all[begin + i];
  }
  state.Upload(mean.data());
}

}  // namespace mariana
