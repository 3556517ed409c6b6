// SyncWorker: one worker of DataParallel: its device's net, its end of the exchange, and its
// slices of the optimizer state and of the average. See data_parallel.h for the step. Used by one
// thread at a time.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/comm/transfer_group.h"
#include "common/train/data_parallel.h"

namespace mariana {

// A run of arena elements that one optimizer call covers.
struct Segment {
  Range range;
  int64_t slot_begin = 0;  // of its optimizer state in the worker's slot tensors
  Factors factors;
};

// What one worker owns of the arenas, as its slots hold it one segment after another.
struct SlotLayout {
  std::vector<std::vector<Segment>> buckets;  // bucket -> what is owned of it
  // Owned elements of parameters without decay; and of those that count in sums over workers.
  std::vector<Range> undecayed, counted;
  int64_t elements() const;
};
// The same on all ranks, of any worker.
SlotLayout PlanSlots(const Net& net, const OptimizerSpec& optimizer,
                     const std::vector<Range>& buckets, int worker, int workers);

// Where the workers of a rank that exchange seldom wait for each other, so that none is more than
// a step ahead: they share a stream of batches. Thread-safe.
class BlockGate {
 public:
  BlockGate(Clock* clock, int workers);
  void Reset(int64_t first_step);      // nobody is within Pass
  void Pass(int local, int64_t step);  // before each step
  void Open();                         // a worker has failed: nobody waits any more

 private:
  std::mutex mutex_;
  CondVar moved_;
  std::vector<int64_t> at_;
  bool open_ = false;
};

// Adds the seconds since the last mark to one phase after another.
class PhaseTimer {
 public:
  explicit PhaseTimer(Clock* clock) : clock_(clock), last_(clock->NowNs()) {}
  void Add(double* seconds) {
    const int64_t now = clock_->NowNs();
    *seconds += static_cast<double>(now - last_) * 1e-9;
    last_ = now;
  }

 private:
  Clock* clock_;
  int64_t last_;
};

enum class RunOutcome { kDone, kStopped, kDiverged };

class SyncWorker {
 public:
  // `index`: among the workers of all ranks.
  // `split`: how its group shares a model, with the group's transfers; null: it has its own. `gate`
  // outlives it; used in blocks only.
  SyncWorker(int index, const DataParallelOptions& options, int64_t max_rows, BlockGate* gate,
             std::shared_ptr<const SplitPlan> split, TransferGroup* transfers);

  Net* net() { return net_.get(); }
  const Net& net() const { return *net_; }
  // Buckets of the arena of at least so many bytes, the same for all workers of a partition.
  std::vector<Range> PlanBuckets(int64_t bytes) const;
  // Takes its end of its partition's exchange over `buckets` and allocates the slices it owns.
  void Join(ExchangeGroup* group, const std::vector<Range>& buckets);
  // Makes no more calls of the exchange; before the group goes.
  void Leave() { queued_exchange_.reset(); }

  // Steps [first, last) of `run`; *done counts whole steps. *result is the last step's.
  RunOutcome RunSteps(BatchSource* source, const RunOptions& run, int64_t adam_t, int64_t* done,
                      StepResult* result);
  // What the thread is doing, for error messages.
  const char* phase() const { return phase_; }

  // The slots behind the optimizer's own: unrounded values where there are any, the average of
  // values if there is one.
  int master_slot() const { return OptimizerSlots(options_.optimizer); }
  int average_slot() const { return master_slot() + (options_.masters() ? 1 : 0); }
  // Sets both, for what this worker owns, to the values.
  void StartFromValues();

  const SlotLayout& layout() const { return layout_; }
  // Slot k as it lies: layout().elements() floats.
  void ReadSlot(int k, float* elements) const;
  // Slot k of the elements of `range` that this worker owns, from `arena` (host, arena layout,
  // covers `range`).
  void WriteSlots(int k, Range range, const float* arena);
  void ClearSlots();

  // The first parameter whose gradient is not finite, or "".
  std::string FirstNonFinite() const;

  PhaseSeconds seconds;  // since last cleared

 private:
  void SetPhase(const char* phase);
  Share ShareOf(int64_t batch_rows) const;
  // Gradients of the mean over `mean_rows` samples, of which this worker has `share`.
  void ForwardBackward(BatchSource* source, int64_t step, const Share& share, int64_t mean_rows,
                       CommitValues* mine);
  void CollectWithoutSamples();
  // Where forward waits for which buckets, and where backward completes them. bucket_ops[b]: the
  // ops with parameters in bucket b, ascending.
  void PlanCalls(const std::vector<std::vector<int>>& bucket_ops);
  void GradientsReady(int op);
  void AllGradientsReady();
  void AwaitValues(int op);
  void AwaitBucket(int bucket);
  void AwaitAll();
  float* SlotAt(int k, const Segment& s) const;
  // Adds up the squares of the owned gradients, and reads and clears all sums since the last time:
  // where the work is queued, this waits for it.
  void TakeSums(CommitValues* mine);
  std::vector<int32_t> GroupRows(int64_t rows) const;
  void UpdateRunningAverages(int64_t batch_rows);
  void UpdateAndDistribute(double learning_rate, double scale, int64_t t);
  void UpdateBucket(int bucket, size_t first);
  // In blocks.
  bool in_blocks() const { return options_.block.steps > 0; }
  void MakeLocalOptimizer();
  RunOutcome RunBlocks(BatchSource* source, const RunOptions& run, int64_t* done,
                       StepResult* result);
  int64_t LocalStep(BatchSource* source, const RunOptions& run, int64_t step, int64_t t,
                    CommitValues* mine);
  RunOutcome JoinBlock(int64_t rows, const CommitValues& sums, StepResult* result);
  void JoinRunningAverages(double weight);

  const int index_, group_;  // the group of workers that it shares a model with
  const DataParallelOptions& options_;
  TransferGroup* const transfers_;
  const int64_t max_rows_;
  Clock* const clock_;
  Device* const device_;
  BlockGate* const gate_;
  std::unique_ptr<Transfers> queued_transfers_;  // as below, of a shared model; the net uses it
  std::unique_ptr<Net> net_;
  Exchange* exchange_ = nullptr;
  std::unique_ptr<Exchange> queued_exchange_;  // before the group's, where work is queued
  std::vector<Range> buckets_;
  std::vector<std::vector<int>> first_read_;  // op -> buckets that no op before it reads
  std::vector<std::vector<int>> completed_;   // op -> buckets complete after its backward pass
  std::vector<bool> awaiting_values_;         // bucket -> values may be under way
  Tensor sums_;                               // one StepSums
  std::unique_ptr<Pieces> pieces_;            // of commit and update
  // Of each segment, and of its average where there is one; and a copy in device memory.
  std::vector<OptimizerStep> steps_;
  Tensor device_steps_;
  SlotLayout layout_;
  std::vector<Range> finite_probe_;  // owned elements that tell finite gradients
  std::vector<Tensor> slots_;        // the optimizer's, and the average if there is one
  std::vector<float> batch_stats_;   // host: this worker's groups of the step
  // In blocks: an optimizer over the whole arena, and the values that the block began with.
  SlotLayout local_layout_;
  std::vector<Tensor> local_slots_;
  Tensor start_;
  const char* phase_ = "set-up";
};

}  // namespace mariana
