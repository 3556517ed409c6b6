// The sections that every training job has: `train:`, with its checkpoints, and `log:`. Plain
// structs; thread-compatible.
#pragma once

#include <string>

#include "common/optim/optimizer.h"
#include "common/train/data_parallel.h"
#include "common/train/parallel.h"

namespace mariana {

// `train.checkpoint:`
struct CheckpointSpec {
  int64_t every_steps = 0;
  int64_t every_epochs = 1;
  int64_t keep = 2;
  int64_t full_every = 1;
  bool may_save_changes = false;  // the program can: it says so before it describes this
  void Describe(Fields* f);
};

// `train:`
struct TrainSpec {
  int64_t epochs = 10;
  int64_t max_steps = 0;
  int64_t batch_size = 256;
  int64_t accumulate = 1;
  Precision precision = Precision::kFp32;
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  CheckpointSpec checkpoint;
  int64_t patience = 0;    // early stopping: epochs without a better held-out loss
  std::string start_from;  // model to start the values from
  void Describe(Fields* f);
  // The part of it that --resume must find unchanged.
  void DescribeIdentity(Fields* f);
  void DescribePrecision(Fields* f, const char* text);
  Dtype compute() const { return precision == Precision::kBf16 ? Dtype::kBF16 : Dtype::kF32; }
};

// What `parallel.exchange: block` asks of the rest of a job.
void RequireBlocks(Fields* f, const TrainSpec& train, const ParallelSpec& parallel, double ema = 0);

// `log:`
struct LogSpec {
  int64_t every_steps = 50;
  bool profile = false;
  void Describe(Fields* f);
};

// What these sections say about the workers; the caller adds the net, its input and outputs.
DataParallelOptions WorkerOptions(const TrainSpec& train, const ParallelSpec& parallel,
                                  Topology topology,
                                  const std::vector<std::unique_ptr<Device>>& devices);

// The most samples that a group of workers (often of one) computes on at a time, but for batch-norm
// groups, which are kept whole.
int64_t RowsAtATime(const TrainSpec& train, int groups);

}  // namespace mariana
