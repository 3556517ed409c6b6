#include "common/train/sync_worker.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

#include "common/comm/queued_exchange.h"
#include "common/comm/queued_transfers.h"

namespace mariana {
namespace {

Range Intersect(Range a, Range b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

// What is added up in device memory, to be read once a step.
struct StepSums {
  LossSums loss;
  double squares;  // of owned gradients
};

// First of a piece's key.
enum PieceKind : int64_t { kCommitPiece, kUpdatePiece };

Range SlotRange(const ParamInfo& p) { return {p.offset, p.offset + p.elements}; }

}  // namespace

SyncWorker::SyncWorker(int index, const DataParallelOptions& options, int64_t max_rows,
                       BlockGate* gate, std::shared_ptr<const SplitPlan> split,
                       TransferGroup* transfers)
    : index_(index),
      group_(options.group_of(index)),
      options_(options),
      transfers_(transfers),
      max_rows_(max_rows),
      clock_(options.clock ? options.clock : Clock::Real()),
      device_(options.devices[static_cast<size_t>(index - options.first())]),
      gate_(gate) {
  NetOptions net = options.NetFor(max_rows);
  net.device = device_;
  if (split) {
    net.split = std::move(split);
    net.worker = options.part_of(index);
    net.transfers = transfers->end(net.worker);
    if (device_->info().queued) {
      queued_transfers_ = MakeQueuedTransfers(net.transfers, device_);
      net.transfers = queued_transfers_.get();
    }
  }
  net.clock = clock_;
  net_ = Net::Build(*options.net, net);
}

void SyncWorker::SetPhase(const char* phase) {
  phase_ = phase;
  if (options_.ranks && index_ == options_.first()) options_.ranks->set_phase(phase);
}

std::vector<Range> SyncWorker::PlanBuckets(int64_t bytes) const {
  std::vector<int64_t> boundaries{0};
  for (const ParamInfo& p : net_->params()) {
    if (p.offset > boundaries.back()) boundaries.push_back(p.offset);
  }
  boundaries.push_back(net_->arena_elements());
  return MakeBuckets(boundaries, bytes / int64_t{sizeof(float)});
}

int64_t SlotLayout::elements() const {
  int64_t n = 0;
  for (const auto& list : buckets) {
    for (const Segment& s : list) n += s.range.size();
  }
  return n;
}

SlotLayout PlanSlots(const Net& net, const OptimizerSpec& optimizer,
                     const std::vector<Range>& buckets, int worker, int workers) {
  SlotLayout layout;
  int64_t slot = 0;
  for (const Range& bucket : buckets) {
    const Range owned = SliceOf(bucket, worker, workers);
    auto& list = layout.buckets.emplace_back();
    for (const ParamInfo& p : net.params()) {
      const Range mine = Intersect(SlotRange(p), owned);
      if (mine.size() == 0) continue;
      const Factors factors = FactorsOf(optimizer, p.name, p.decay);
      if (!list.empty() && list.back().factors == factors && list.back().range.end == mine.begin) {
        list.back().range.end = mine.end;
      } else {
        list.push_back({mine, slot, factors});
      }
      slot += mine.size();
      if (!p.decay) layout.undecayed.push_back(mine);
      auto& counted = layout.counted;
      if (p.counts && !counted.empty() && counted.back().end == mine.begin) {
        counted.back().end = mine.end;
      } else if (p.counts) {
        counted.push_back(mine);
      }
    }
  }
  return layout;
}

void SyncWorker::Join(ExchangeGroup* group, const std::vector<Range>& buckets) {
  exchange_ = group->Join(group_, device_, net_->grads(), net_->values(), {});
  if (device_->info().queued && exchange_->workers() > 1) {
    queued_exchange_ = MakeQueuedExchange(exchange_, device_, clock_);
    exchange_ = queued_exchange_.get();
  }
  buckets_ = buckets;
  const size_t n = buckets.size();
  std::vector<std::vector<int>> bucket_ops(n);
  awaiting_values_.assign(n, false);
  for (size_t b = 0; b < n; ++b) {
    for (const ParamInfo& p : net_->params()) {
      if (Intersect(SlotRange(p), buckets[b]).size() > 0) bucket_ops[b].push_back(p.op);
    }
  }
  PlanCalls(bucket_ops);
  sums_ = Tensor(device_, Dtype::kF32, Shape{sizeof(StepSums) / sizeof(float)});
  pieces_ = device_->MakePieces();
  layout_ = PlanSlots(*net_, options_.optimizer, buckets, group_, options_.groups());
  // A non-finite gradient of a layer's output shows in its bias gradient, which is tiny: that is
  // what a step without clipping checks. A net with no such parameter is checked whole.
  const bool any_bias = std::any_of(net_->params().begin(), net_->params().end(),
                                    [](const ParamInfo& p) { return !p.decay; });
  const bool whole = !any_bias || options_.optimizer.clip_norm > 0 || in_blocks();
  finite_probe_ = whole ? layout_.counted : layout_.undecayed;
  const size_t slots = options_.SlotNames().size() + (options_.ema > 0 ? 1 : 0);
  for (size_t k = 0; k < slots; ++k) {
    slots_.emplace_back(device_, Dtype::kF32, Shape{std::max<int64_t>(layout_.elements(), 1)});
  }
  if (in_blocks()) MakeLocalOptimizer();
}

// A single worker has nobody to overlap with: all of its buckets go at once.
void SyncWorker::PlanCalls(const std::vector<std::vector<int>>& bucket_ops) {
  const size_t ops = net_->ops().size();
  first_read_.assign(ops, {});
  completed_.assign(ops, {});
  int lowest = static_cast<int>(ops);
  for (const auto& of_bucket : bucket_ops) {
    for (int op : of_bucket) lowest = std::min(lowest, op);
  }
  for (size_t b = 0; b < bucket_ops.size(); ++b) {
    if (bucket_ops[b].empty()) continue;
    const int first = exchange_->workers() == 1 ? lowest : bucket_ops[b].front();
    first_read_[static_cast<size_t>(first)].push_back(static_cast<int>(b));
    completed_[static_cast<size_t>(first)].push_back(static_cast<int>(b));
  }
  std::vector<bool> before, after;
  for (const auto& buckets : first_read_) before.push_back(!buckets.empty());
  after = before;
  const int room = net_->plan().next_input_after;
  if (room >= 0) after[static_cast<size_t>(room)] = true;
  net_->CallAt(before, after);
}

float* SyncWorker::SlotAt(int k, const Segment& s) const {
  const bool kept = k < static_cast<int>(slots_.size());
  return kept ? slots_[static_cast<size_t>(k)].f32() + s.slot_begin : nullptr;
}

RunOutcome SyncWorker::RunSteps(BatchSource* source, const RunOptions& run, int64_t adam_t,
                                int64_t* done, StepResult* result) {
  if (in_blocks()) return RunBlocks(source, run, done, result);
  for (int64_t step = run.first_step; step < run.last_step; ++step) {
    PhaseTimer timer(clock_);
    SetPhase("data");
    const int64_t rows = source->Rows(step);
    timer.Add(&seconds.data);

    CommitValues mine;
    ForwardBackward(source, step, ShareOf(rows), rows, &mine);
    timer = PhaseTimer(clock_);

    SetPhase("collect");
    exchange_->FinishCollect();
    timer.Add(&seconds.collect);
    SetPhase("commit");
    TakeSums(&mine);
    mine.stop = run.stop_requested && run.stop_requested();
    CommitValues all = exchange_->Commit(mine);
    if (transfers_) all = transfers_->Commit(options_.part_of(index_), all);
    result->step = step;
    result->samples = all.samples;
    result->correct = all.correct;
    result->loss = all.loss / static_cast<double>(std::max<int64_t>(all.samples, 1));
    const bool clip = options_.optimizer.clip_norm > 0;
    result->gradient_norm = clip ? std::sqrt(all.squared_norm) : 0;
    if (!std::isfinite(all.loss) || !std::isfinite(all.squared_norm)) return RunOutcome::kDiverged;
    UpdateRunningAverages(rows);
    timer.Add(&seconds.commit);

    SetPhase("update");
    double scale = 1;
    if (clip && result->gradient_norm > options_.optimizer.clip_norm) {
      scale = options_.optimizer.clip_norm / result->gradient_norm;
    }
    result->learning_rate = run.learning_rate(step);
    UpdateAndDistribute(result->learning_rate, scale, adam_t + *done + 1);
    timer.Add(&seconds.update);
    ++*done;
    if (index_ == options_.first() && run.on_step) run.on_step(*result);
    if (all.stop) {
      AwaitAll();
      return RunOutcome::kStopped;
    }
  }
  AwaitAll();
  return RunOutcome::kDone;
}

Share SyncWorker::ShareOf(int64_t batch_rows) const {
  return DealOut(batch_rows, net_->group(), options_.groups())[static_cast<size_t>(group_)];
}

void SyncWorker::ForwardBackward(BatchSource* source, int64_t step, const Share& share,
                                 int64_t mean_rows, CommitValues* mine) {
  batch_stats_.clear();
  std::vector<Share> parts = DealOut(share.rows, net_->group(), options_.accumulate);
  while (!parts.empty() && parts.back().rows == 0) parts.pop_back();
  if (parts.empty()) return CollectWithoutSamples();

  for (size_t i = 0; i < parts.size(); ++i) {
    PhaseTimer timer(clock_);
    SetPhase("data");
    StepContext context;
    context.seed = options_.seed;
    context.rows = parts[i].rows;
    context.first_sample = step * options_.batch_size + share.begin + parts[i].begin;
    context.batch_rows = mean_rows;
    context.accumulate = i > 0;
    CHECK_LE(context.rows, max_rows_);
    const DeviceBatch batch =
        source->Take(index_, step, share.begin + parts[i].begin, context.rows);
    timer.Add(&seconds.data);

    SetPhase("forward");
    net_->Forward(context, batch.input, [this](int op) { AwaitValues(op); });
    net_->AddLoss(context, batch.labels, &static_cast<StepSums*>(sums_.data())->loss);
    if (options_.part_of(index_) == 0) mine->samples += context.rows;
    timer.Add(&seconds.forward);

    SetPhase("backward");
    const bool last = i + 1 == parts.size();
    net_->Backward(context, batch.input, [&](int op) {
      if (last && options_.overlap) GradientsReady(op);
      if (op == net_->plan().next_input_after) source->HasRoom(index_, step);
    });
    if (last && !options_.overlap) AllGradientsReady();
    if (net_->batch_stats_elements() > 0) {
      const int64_t groups = (context.rows + net_->group() - 1) / net_->group();
      const size_t old = batch_stats_.size();
      batch_stats_.resize(old + static_cast<size_t>(groups * net_->batch_stats_elements()));
      device_->Download(batch_stats_.data() + old, net_->batch_stats(),
                        groups * net_->batch_stats_elements() * int64_t{sizeof(float)});
    }
    timer.Add(&seconds.backward);
  }
}

// A worker whose share is empty still takes part with zero gradients.
void SyncWorker::CollectWithoutSamples() {
  if (in_blocks()) return;
  AwaitAll();
  device_->Fill(net_->grads(), 0, net_->arena_elements());
  AllGradientsReady();
}

void SyncWorker::AllGradientsReady() {
  for (int op = static_cast<int>(completed_.size()) - 1; op >= 0; --op) GradientsReady(op);
}

void SyncWorker::GradientsReady(int op) {
  if (in_blocks()) return;
  for (int b : completed_[static_cast<size_t>(op)]) exchange_->Collect(b);
}

void SyncWorker::AwaitValues(int op) {
  for (int b : first_read_[static_cast<size_t>(op)]) AwaitBucket(b);
}

void SyncWorker::AwaitBucket(int b) {
  if (!awaiting_values_[static_cast<size_t>(b)]) return;
  awaiting_values_[static_cast<size_t>(b)] = false;
  exchange_->WaitValues(b);
  // The update wrote the shadow of what this worker owns, unless that was rounded afterwards; the
  // rest came from others.
  const Range bucket = buckets_[static_cast<size_t>(b)], owned = exchange_->Owned(b);
  if (options_.masters()) return net_->RefreshShadow(bucket.begin, bucket.size());
  net_->RefreshShadow(bucket.begin, owned.begin - bucket.begin);
  net_->RefreshShadow(owned.end, bucket.end - owned.end);
}

void SyncWorker::AwaitAll() {
  for (size_t b = 0; b < buckets_.size(); ++b) AwaitBucket(static_cast<int>(b));
}

void SyncWorker::TakeSums(CommitValues* mine) {
  pieces_->Run({kCommitPiece}, [this] {
    for (const Range& r : finite_probe_) {
      device_->AddSumOfSquares(net_->grads() + r.begin, r.size(),
                               &static_cast<StepSums*>(sums_.data())->squares);
    }
  });
  StepSums sums{};
  sums_.Download(&sums);
  device_->Fill(sums_.f32(), 0, sums_.elements());
  mine->loss = sums.loss.loss;
  mine->correct = sums.loss.correct;
  mine->squared_norm = sums.squares;
}

void SyncWorker::UpdateRunningAverages(int64_t batch_rows) {
  if (net_->batch_stats_elements() == 0) return;
  std::vector<float> all;
  exchange_->GatherHost(batch_stats_.data(), static_cast<int64_t>(batch_stats_.size()), &all);
  net_->UpdateRunning(all.data(), GroupRows(batch_rows));
}

std::vector<int32_t> SyncWorker::GroupRows(int64_t rows) const {
  std::vector<int32_t> groups;
  for (int64_t done = 0; done < rows; done += net_->group()) {
    groups.push_back(static_cast<int32_t>(std::min(net_->group(), rows - done)));
  }
  return groups;
}

// What varies from step to step goes to the device first, so that the updates can be replayed.
void SyncWorker::UpdateAndDistribute(double learning_rate, double scale, int64_t t) {
  steps_.clear();
  for (const auto& list : layout_.buckets) {
    for (const Segment& s : list) {
      steps_.push_back(MakeOptimizerStep(options_.optimizer, learning_rate, t, scale, s.factors));
      if (options_.ema > 0) steps_.push_back(MakeAverageStep(options_.ema, t));
    }
  }
  const auto bytes = static_cast<int64_t>(steps_.size() * sizeof(OptimizerStep));
  if (device_steps_.empty()) device_steps_ = Tensor(device_, Dtype::kU8, Shape{bytes});
  device_steps_.Upload(steps_.data());
  size_t first = 0;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    const int bucket = static_cast<int>(b);
    pieces_->Run({kUpdatePiece, bucket}, [&] { UpdateBucket(bucket, first); });
    first += layout_.buckets[b].size() * (options_.ema > 0 ? 2 : 1);
    exchange_->Distribute(bucket);
    awaiting_values_[b] = true;
  }
  if (!options_.overlap) AwaitAll();
}

// `first`: of the bucket's segments in steps_.
void SyncWorker::UpdateBucket(int bucket, size_t first) {
  const auto* now = static_cast<const OptimizerStep*>(device_steps_.data());
  const int own = OptimizerSlots(options_.optimizer);
  size_t at = first;
  for (const Segment& s : layout_.buckets[static_cast<size_t>(bucket)]) {
    const int64_t i = s.range.begin;
    float* const values = options_.masters() ? SlotAt(master_slot(), s) : net_->values() + i;
    device_->UpdateFrom(steps_[at], now + at, net_->grads() + i, values,
                        net_->values16() && !options_.masters() ? net_->values16() + i : nullptr,
                        own > 0 ? SlotAt(0, s) : nullptr, own > 1 ? SlotAt(1, s) : nullptr,
                        s.range.size());
    ++at;
    if (options_.ema > 0) {
      device_->UpdateFrom(steps_[at], now + at, values, SlotAt(average_slot(), s), nullptr, nullptr,
                          nullptr, s.range.size());
      ++at;
    }
    if (options_.masters()) {  // the exchange rounds them
      device_->Copy(net_->values() + i, values, s.range.size() * int64_t{sizeof(float)});
    }
  }
}

void SyncWorker::ReadSlot(int k, float* elements) const {
  device_->Download(elements, slots_[static_cast<size_t>(k)].f32(),
                    layout_.elements() * int64_t{sizeof(float)});
}

void SyncWorker::WriteSlots(int k, Range range, const float* arena) {
  for (const auto& list : layout_.buckets) {
    for (const Segment& s : list) {
      const Range r = Intersect(s.range, range);
      if (r.size() == 0) continue;
      device_->Upload(SlotAt(k, s) + (r.begin - s.range.begin), arena + (r.begin - range.begin),
                      r.size() * int64_t{sizeof(float)});
    }
  }
}

void SyncWorker::ClearSlots() {
  for (Tensor& slot : slots_) slot.device()->Fill(slot.f32(), 0, slot.elements());
}

void SyncWorker::StartFromValues() {
  const auto start = [this](int slot) {
    for (const auto& list : layout_.buckets) {
      for (const Segment& s : list) {
        device_->Copy(SlotAt(slot, s), net_->values() + s.range.begin,
                      s.range.size() * int64_t{sizeof(float)});
      }
    }
  };
  if (options_.masters()) start(master_slot());
  if (options_.ema > 0) start(average_slot());
}

std::string SyncWorker::FirstNonFinite() const {
  for (const ParamInfo& p : net_->params()) {
    if (!std::isfinite(device_->SumOfSquares(net_->grads() + p.offset, p.elements))) {
      return p.name;
    }
  }
  return "";
}

}  // namespace mariana
