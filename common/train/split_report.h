// What workers that share a model need of their devices, and what --check prints of it. Free
// functions.
#pragma once

#include <string>
#include <vector>

#include "common/train/data_parallel.h"

namespace mariana {

// Of one worker of a group; bytes.
struct WorkerNeeds {
  int64_t parameters = 0;  // numbers, not bytes
  int64_t values = 0, gradients = 0, optimizer = 0, activations = 0, batches = 0;
  double flops = 0;  // forward, one sample
  int64_t bytes() const { return values + gradients + optimizer + activations + batches; }
};
// By part. `o` as for DataParallel, its devices at least one.
std::vector<WorkerNeeds> NeedsOf(const DataParallelOptions& o);

// Throws Error(kUsage) if a worker needs more than `limit` bytes (0: no limit), saying what and
// which split fits.
void CheckDeviceMemory(const DataParallelOptions& o, int64_t limit);

// The split of every layer, every worker's needs, the transfers of a step, and what other splits
// would need. Throws Error(kInternal) if the transfers could wait for each other for ever. To
// stdout.
void PrintSplit(const DataParallelOptions& o);

}  // namespace mariana
