// How the workers of a job are joined: the exchange of each partition (the workers that have the
// same part of the model), the transfers of each group (those that share a model), and the ranks
// that either is on. Pure functions of the job's options, the same on all ranks, but for
// BucketBytesOf, which may measure links: all ranks of the partition call it.
#pragma once

#include <memory>
#include <vector>

#include "common/comm/transfer_group.h"
#include "common/comm/world_parts.h"
#include "common/train/data_parallel.h"

namespace mariana {

// Throws Error(kUsage) where the devices cannot share a model as the job wants.
void CheckSplit(const DataParallelOptions& o);

// Workers of all ranks, ascending.
std::vector<int> PartitionOf(const DataParallelOptions& o, int part);
std::vector<int> GroupOf(const DataParallelOptions& o, int group);

// What shares the world of a job whose models are split, by part: first the partitions, then the
// groups. Null where there is nothing to share.
std::unique_ptr<WorldParts> ShareWorld(const DataParallelOptions& o);
// That of a partition or group: null if it is within this rank. `shared` as ShareWorld gives it.
World* PartitionWorld(const DataParallelOptions& o, const WorldParts* shared, int part);
World* GroupWorld(const DataParallelOptions& o, const WorldParts* shared, int group);

ExchangeOptions ExchangeOf(const DataParallelOptions& o, int part, World* world,
                           std::vector<Range> buckets);
// Of the buckets of what `net` has of the model.
int64_t BucketBytesOf(const DataParallelOptions& o, World* world, const Net* net);
TransferOptions TransfersOf(const DataParallelOptions& o, const SplitPlan& plan, int group,
                            World* world);

}  // namespace mariana
