// DataParallel: N workers train one model with synchronous SGD, one device each. Each rank of a job
// (ranks.h) has as many of them; what follows does not depend on which worker is where.
//
// With split.workers = S > 1 a model is shared by S workers (nn/split_plan.h): workers g * S + s
// are group g, which computes on one share of the batch, and each s is a partition: the same part
// of the model in every group, kept equal by an exchange of its own. A group may be on several
// ranks. Models and optimizer state are saved and loaded whole. What is replicated within a group
// is the same bits on all its workers, as each computes it from the same bits; partition 0's is
// what is saved, and counts in norms.
//
// A step: every worker computes the gradients of its share of the global batch; buckets of
// gradients are collected to their owners while backward goes on; one commit decides for all;
// owners update their slices (optimizer state lives only there) and the values travel back while
// the next forward goes on. So N workers give what one gives, to the rounding of fp32 sums.
//
// With an average (EMA) of the values, the model is the average: that is what is saved and loaded
// as the model, and evaluated within WithAverages; the values being trained are then part of the
// optimizer's tensors ("<name>.value"). Owners keep the average of their slices.
//
// Threading: constructed and called by one thread, on all ranks in the same order unless a method
// says otherwise; each worker runs on a thread of its own, whose
// first exception ends every worker and surfaces from the call as an Error naming worker and
// phase. After that only destruction is allowed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/comm/exchange.h"
#include "common/comm/transfer_group.h"
#include "common/nn/net.h"
#include "common/nn/split_plan.h"
#include "common/optim/optimizer.h"
#include "common/train/net_values.h"
#include "common/train/ranks.h"

namespace mariana {

// A worker's share of a batch: samples [begin, begin + rows).
struct Share {
  int64_t begin = 0, rows = 0;
};
// Deals `rows` samples out in whole groups of `group` (0 counts as 1): consecutive shares, group
// counts differ by at most one, the last group may be short.
std::vector<Share> DealOut(int64_t rows, int64_t group, int workers);

// Samples in a device's memory.
struct DeviceBatch {
  Tensor input, labels;  // [rows, ...] each
};

// Where batches come from. Thread-safe: workers ask for the same steps, each for its own rows.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // Samples in the global batch of `step`; waits until it is there.
  virtual int64_t Rows(int64_t step) = 0;
  // Samples [begin, begin + rows) of that batch, rows > 0, in memory of `worker`'s device (of all
  // ranks' workers): valid until the worker's next Take. A worker takes all its samples of a step,
  // in order, before any of the next.
  virtual DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) = 0;
  // The worker's Net::next_input is free for the step after `step`, once the work that it has
  // queued is done: called where it has one.
  virtual void HasRoom(int /*worker*/, int64_t /*step*/) {}
};

// Exchange once in so many steps instead of each (0): every worker goes on by itself, its share of
// each batch being its batch, and its optimizer starts afresh; then what they moved by is averaged,
// by samples, and filtered by `momentum`. Without momentum that is local SGD (Stich 2019); with it
// blockwise model-update filtering (Chen and Huo 2016), usually at 1 - 1 / workers. Blocks end at
// multiples of `steps`, and where a run pauses. A stop request waits for the end of a block.
struct BlockSpec {
  int64_t steps = 0;
  double momentum = 0;
  bool nesterov = false;
};

struct DataParallelOptions {
  std::vector<Device*> devices;  // one a worker of this rank
  Ranks* ranks = nullptr;        // each has as many devices; null: there is only this one
  SplitSpec split;               // of a model between workers
  const NetSpec* net = nullptr;
  Shape input;  // one sample
  int64_t outputs = 0;
  Shape label;  // of one sample: [] for a class
  Dtype label_dtype = Dtype::kI32;
  Dtype compute = Dtype::kF32;
  int64_t batch_size = 0;  // over all workers
  int64_t accumulate = 1;  // parts a worker computes its share in, one after another
  uint64_t seed = 0;
  OptimizerSpec optimizer;
  BlockSpec block;  // with SGD and no average
  double ema = 0;   // decay of the average of values that the model is saved with; 0: no average
  Topology topology = Topology::kLinear;
  int64_t bucket_bytes = 0;    // 0: by the speed of the links (comm/link_speed.h)
  int64_t chunk_elements = 0;  // of ExchangeOptions; 0: its default
  Wire collect_wire = Wire::kF32, distribute_wire = Wire::kF32;
  // False: collecting begins when backward is done, and the next step when all values are there.
  bool overlap = true;
  std::vector<int> node_of;  // worker -> node; empty: all on one
  // As ExchangeOptions has it, between workers `from` and `to` of all (the ends are numbered among
  // those with the same part of the model). Empty: memory that all can read.
  std::function<std::unique_ptr<Link>(int from, int to, const LinkEnds& ends)> make_link;
  // As TransferOptions has it, between workers of all.
  std::function<void(const TransferRoute& route, int64_t bytes, std::function<void()> arrived)>
      carry;
  Clock* clock = nullptr;  // null: the real clock

  int local() const { return static_cast<int>(devices.size()); }
  // Whether owners keep values that are not rounded for the wire.
  bool masters() const { return distribute_wire != Wire::kF32; }
  // What owners keep of each element: "momentum", ..., "master".
  std::vector<std::string> SlotNames() const;
  // Workers of all ranks, and this rank's first among them.
  int total() const { return local() * (ranks ? ranks->size() : 1); }
  int first() const { return local() * (ranks ? ranks->rank() : 0); }
  int rank_of(int worker) const { return worker / local(); }
  bool on_ranks() const { return total() > local(); }  // on several
  // Whether each rank has whole models.
  bool whole_here() const { return local() % split.workers == 0; }
  // Groups of workers that share a model, of all ranks; a worker's group and its part of the model.
  int groups() const { return total() / split.workers; }
  int group_of(int worker) const { return worker / split.workers; }
  int part_of(int worker) const { return worker % split.workers; }
  // The whole model on the first device, for so many samples at a time.
  NetOptions NetFor(int64_t rows) const;
  // Enough samples for the largest part that a worker computes at a time, where as many devices
  // make up `groups` groups and the net's own groups are of `group` samples.
  int64_t MostRows(int groups, int64_t group) const;
};

// What one step did, the same on all workers.
struct StepResult {
  int64_t step = 0;   // index from 0
  int64_t steps = 1;  // that end with it: a block's
  int64_t samples = 0, correct = 0;
  double loss = 0;           // mean over the samples
  double gradient_norm = 0;  // before clipping; 0 unless clipping asks for it
  double learning_rate = 0;
};

struct RunOptions {
  int64_t first_step = 0, last_step = 0;              // [first, last)
  std::function<double(int64_t step)> learning_rate;  // called on worker threads
  std::function<bool()> stop_requested;               // polled once a step
  std::function<void(const StepResult&)> on_step;     // on a worker's thread, in order
};

// Wall seconds of the trainer thread of this rank's first worker, by phase.
struct PhaseSeconds {
  double data = 0, forward = 0, backward = 0, collect = 0, commit = 0, update = 0;
};

class DataParallel {
 public:
  explicit DataParallel(const DataParallelOptions& options);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  const DataParallelOptions& options() const;
  int workers() const { return options().total(); }
  // Of this rank's worker number `local`, from 0, while no Run is under way.
  Net* net(int local);
  // Net::next_input of this rank's workers.
  std::vector<Tensor> NextInputs();
  const NetPlan& plan() const;  // of the whole model, for one sample
  // How it is split; null: it is not.
  const SplitPlan* split() const;
  void Initialize();  // fresh values from the seed, zero optimizer state

  // Trains steps [first, last); returns the number of steps done: fewer when a stop was
  // requested, which ends the run after a whole step. Throws Error(kDiverged) when loss or
  // gradients are not finite, before any value is touched.
  int64_t Run(BatchSource* source, const RunOptions& options);

  // Runs fn(local) on the thread of each worker of this rank and waits. Not of all ranks.
  void OnAll(const std::string& phase, const std::function<void(int local)>& fn);

  // Parameters and running averages, plain layout, in net order.
  std::vector<HostTensor> SaveModel() const;
  std::vector<HostTensor> SaveOptimizer() const;  // complete on rank 0
  // Calls fn while the nets of all workers hold what SaveModel gives; no Run meanwhile.
  void WithAverages(const std::function<void()>& fn);
  // Throws Error(kBadData) naming `where` and the tensor when one is missing or of another shape.
  // LoadOptimizer comes after LoadModel; without it training starts at the model.
  void LoadModel(const std::vector<HostTensor>& tensors, const std::string& where);
  void LoadOptimizer(const std::vector<HostTensor>& tensors, const std::string& where);

  PhaseSeconds TakePhaseSeconds();
  // Per-op seconds of this rank's first worker since the last call, forward and backward (see Net).
  void EnableProfile(bool on);
  std::vector<std::pair<double, double>> TakeProfile();
  std::vector<LinkBytes> Traffic() const;
  const std::vector<Range>& buckets() const;  // of the first worker's arenas, in their order
  // Taken of each of split()'s messages since the start, over the groups of this rank.
  std::vector<int64_t> TransferredBytes() const;
  int64_t steps_done() const;  // since construction or load; Adam's t continues from it
  void set_steps_done(int64_t t);

 private:
  class Worker;
  struct Shared;
  struct Partition;
  std::vector<int> LocalOf(int part) const;  // this rank's workers of a partition
  // Parameters and running averages as the workers have them, whole, on all ranks.
  std::vector<HostTensor> SaveValues() const;
  // Slot k of all parameters, under the names of `suffix`: on rank 0, or on all.
  void SaveSlot(int k, const std::string& suffix, bool on_all, std::vector<HostTensor>* out) const;
  std::vector<float> GatherSlot(int part, int k, int root) const;
  std::vector<std::vector<float>> GatherParts(std::vector<std::vector<float>> mine,
                                              bool on_all) const;
  NetPlan PlanOfPart(int part) const;
  std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace mariana
