// What each worker does to sum a bucket to its owners and to spread their values: a pure function
// of the topology, computed once. No memory, threads or clocks here.
//
// A bucket's slice moves in a *lane*: from the ends of the topology towards the owner (collect),
// or from the owner outwards (distribute). A worker's part in a lane is a list of steps that run
// in order; lanes are independent of each other. Step k of a lane waits only for the same lane at
// the neighbour nearer to the lane's source, so whatever the order in which workers take up lanes
// and buckets, the waiting cannot form a circle.
//
// Partial sums are kept in the workers' own gradients. Linear: worker w < p adds what its left
// neighbour has into its own and publishes to the right, mirrored for w > p; the owner p adds left,
// then right: ((((g0+g1)+..)+gp) + (gp+1+(..+gn-1))). Ring: from worker p+1 upwards around to p.
// Two levels: in every node a chain leads to the slice's delegate there, the worker whose place in
// the node is that of the owner in its own; the delegates form a ring, which starts behind the
// owner's node and ends at the owner. Chunks of a lane follow each other like a pipeline.
//
// Source: Zou et al., "Mariana: Tencent Deep Learning Platform and its Applications", VLDB 2014.
#pragma once

#include <cstdint>
#include <vector>

#include "common/comm/exchange.h"

namespace mariana {

enum class Phase : uint8_t { kCollect, kDistribute };

struct Step {
  enum class Kind : uint8_t {
    kAdd,      // my gradients += the peer's, once the peer has published the range
    kCopy,     // my values = the peer's, likewise
    kPublish,  // my range is final: the peer may read it
  };
  Kind kind;
  int peer;  // a neighbour
  Range range;
  Wire wire = Wire::kF32;
  bool receives() const { return kind != Kind::kPublish; }
  // That arrive over the link from the peer.
  int64_t bytes() const { return receives() ? range.size() * BytesOf(wire) : 0; }
};

// One worker's part in moving one slice. Empty for a slice of no elements.
struct Lane {
  int slice = 0;
  std::vector<Step> steps;
};

// The lanes of a bucket at `worker`; lane p moves slice p.
std::vector<Lane> MakeSchedule(const Wiring& wiring, int worker, Phase phase, Range bucket,
                               int64_t chunk_elements, Wire wire = Wire::kF32);

// Every directed link of the wiring, ascending by (from, to); bytes are 0.
std::vector<LinkBytes> LinksOf(const Wiring& wiring);

}  // namespace mariana
