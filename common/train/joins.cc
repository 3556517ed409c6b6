#include "common/train/joins.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/base/error.h"
#include "common/comm/link_speed.h"
#include "common/train/parallel.h"

namespace mariana {
namespace {

// Equal neighbours get equal numbers, from 0: of ascending values.
std::vector<int> Renumber(const std::vector<int>& values) {
  std::vector<int> numbers;
  for (size_t i = 0; i < values.size(); ++i) {
    const int before = numbers.empty() ? 0 : numbers.back();
    numbers.push_back(i > 0 && values[i] != values[i - 1] ? before + 1 : before);
  }
  return numbers;
}

std::vector<int> RankOfEach(const DataParallelOptions& o, const std::vector<int>& workers) {
  std::vector<int> ranks;
  for (int w : workers) ranks.push_back(o.rank_of(w));
  return ranks;
}

std::vector<int> RanksOf(const DataParallelOptions& o, const std::vector<int>& workers) {
  std::vector<int> ranks = RankOfEach(o, workers);
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

}  // namespace

void CheckSplit(const DataParallelOptions& o) {
  if (o.split.workers == 1) return;
  if (o.devices[0]->info().queued && o.on_ranks() && o.local() % o.split.workers != 0) {
    throw Fail(ExitCode::kUsage, "parallel.split: ", o.split.workers,
               ": GPUs that share a model belong to one process, and each has ", o.local());
  }
  if (o.total() % o.split.workers != 0) {
    throw Fail(ExitCode::kUsage, "parallel.split: ", o.split.workers, " does not divide the ",
               o.total(), " devices");
  }
}

std::vector<int> PartitionOf(const DataParallelOptions& o, int part) {
  std::vector<int> workers;
  for (int g = 0; g < o.groups(); ++g) workers.push_back(g * o.split.workers + part);
  return workers;
}

std::vector<int> GroupOf(const DataParallelOptions& o, int group) {
  std::vector<int> workers;
  for (int s = 0; s < o.split.workers; ++s) workers.push_back(group * o.split.workers + s);
  return workers;
}

std::unique_ptr<WorldParts> ShareWorld(const DataParallelOptions& o) {
  if (o.split.workers == 1 || !o.on_ranks()) return nullptr;
  std::vector<std::vector<int>> ranks;
  for (int p = 0; p < o.split.workers; ++p) ranks.push_back(RanksOf(o, PartitionOf(o, p)));
  for (int g = 0; g < o.groups(); ++g) ranks.push_back(RanksOf(o, GroupOf(o, g)));
  return std::make_unique<WorldParts>(o.ranks->world(), ranks);
}

World* PartitionWorld(const DataParallelOptions& o, const WorldParts* shared, int part) {
  if (shared != nullptr) return shared->part(part);
  return o.on_ranks() ? o.ranks->world() : nullptr;
}

World* GroupWorld(const DataParallelOptions& o, const WorldParts* shared, int group) {
  return shared != nullptr ? shared->part(o.split.workers + group) : nullptr;
}

ExchangeOptions ExchangeOf(const DataParallelOptions& o, int part, World* world,
                           std::vector<Range> buckets) {
  const std::vector<int> workers = PartitionOf(o, part);
  ExchangeOptions exchange;
  exchange.topology = o.topology;
  exchange.workers = o.groups();
  exchange.world = world;
  std::vector<int> nodes = o.node_of;
  if (o.on_ranks()) {
    const Wiring wiring = WireUp(o.topology, o.local(), *o.ranks);
    exchange.topology = wiring.topology;
    nodes = wiring.node_of;
  }
  if (world != nullptr) exchange.rank_of = Renumber(RankOfEach(o, workers));
  if (!nodes.empty()) {
    for (int w : workers) exchange.node_of.push_back(nodes[static_cast<size_t>(w)]);
    exchange.node_of = Renumber(exchange.node_of);
  }
  exchange.buckets = std::move(buckets);
  exchange.clock = o.clock ? o.clock : Clock::Real();
  if (o.chunk_elements > 0) exchange.chunk_elements = o.chunk_elements;
  exchange.collect_wire = o.collect_wire;
  exchange.distribute_wire = o.distribute_wire;
  if (o.devices[0]->info().queued && !o.make_link) {
    exchange.device_memory = true;
    if (o.collect_wire != Wire::kF32 || o.distribute_wire != Wire::kF32) {
      throw Fail(ExitCode::kUsage, "parallel.wire: between GPUs fp32 travels; use fp32");
    }
    // A chunk costs the host a round trip to the device.
    if (o.chunk_elements == 0) exchange.chunk_elements = int64_t{1} << 20;
  }
  if (o.make_link) {
    exchange.make_link = [&o, part](const LinkEnds& ends) {
      return o.make_link(ends.from * o.split.workers + part, ends.to * o.split.workers + part,
                         ends);
    };
  }
  return exchange;
}

int64_t BucketBytesOf(const DataParallelOptions& o, World* world, const Net* net) {
  std::string why;
  return BucketBytes(o.bucket_bytes, net->arena_elements() * int64_t{sizeof(float)}, o.groups(),
                     world, &why);
}

TransferOptions TransfersOf(const DataParallelOptions& o, const SplitPlan& plan, int group,
                            World* world) {
  TransferOptions transfers;
  transfers.workers = plan.workers;
  for (const TransferMessage& m : plan.messages) {
    transfers.routes.push_back({m.from, m.to, m.cols, m.dtype});
  }
  transfers.clock = o.clock;
  transfers.world = world;
  if (world != nullptr) transfers.rank_of = Renumber(RankOfEach(o, GroupOf(o, group)));
  if (o.carry) {
    transfers.carry = [&o, first = group * plan.workers](const TransferRoute& route, int64_t bytes,
                                                         std::function<void()> arrived) {
      o.carry({first + route.from, first + route.to}, bytes, std::move(arrived));
    };
  }
  return transfers;
}

}  // namespace mariana
