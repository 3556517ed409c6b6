// How fast links are, and the size of buckets that follows from it.
//
// Bits: where buckets are cut decides who owns an element, and with more than two workers that is
// the order in which its gradients are added. So a size must not change from run to run. A
// measured speed is therefore taken to the nearest of a few classes of links, which lie a factor of
// ten apart: a measurement would have to be wrong by more than three for another size. A job that
// must not depend even on that sets parallel.bucket_bytes.
#pragma once

#include <cstdint>
#include <string>

#include "common/comm/exchange.h"
#include "common/comm/world.h"

namespace mariana {

struct LinkSpeed {
  double latency_seconds = 0;  // from one worker's publishing to the next one's adding
  double bytes_per_second = 0;
  std::string name;
};

// Of workers in one process: measured by tests/bench/allreduce_bench, see docs/PERFORMANCE.md.
LinkSpeed MemorySpeed();

// The class of the slowest link between neighbouring ranks, the same answer on all: every rank
// sends a megabyte to the next. Collective; milliseconds, on a slow network tenths of a second.
LinkSpeed MeasureRanks(World* world);

// The class nearest to a measured bandwidth.
LinkSpeed ClassOf(double bytes_per_second);

// A slice of a bucket spends at most a tenth of its time on a link in latency, if that leaves at
// least 8 buckets to overlap with computing; a power of two, at least 64 KiB.
int64_t ChooseBucketBytes(int64_t arena_bytes, int workers, const LinkSpeed& slowest);

// `configured`, or if that is 0 the choice for workers of one process (`world` null or of one
// rank) or of several; *why says so in a line. Collective where it measures.
int64_t BucketBytes(int64_t configured, int64_t arena_bytes, int workers, World* world,
                    std::string* why);

}  // namespace mariana
