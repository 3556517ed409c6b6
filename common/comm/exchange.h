// ParameterExchange: how N workers keep one model. Each worker owns the N-th slice of every
// bucket (a contiguous range of the flat arenas). A step has three phases:
//   collect     gradients of a bucket are summed along the topology to the owners of its slices,
//               while backward goes on below it;
//   commit      one small fixed-order reduction decides for all: gradient norm, finite or not,
//               stop requested, loss sums;
//   distribute  owners have updated their slices; the values travel back to all, while the next
//               forward goes on above them.
// Reduction order is fixed by the topology alone: the same job gives the same bits.
//
// Topologies: `linear` is the seed's partitioned linear topology (Mariana, VLDB 2014): workers
// form an open chain; slice p is summed from both ends towards worker p, so every link carries
// traffic of every bucket in both directions, M bytes each way per phase pair. `ring` is
// reduce-scatter and all-gather around a ring. `two_level` sums each slice along a chain within
// every node to one worker there, around a ring between the nodes to the owner's node, and spreads
// values the same way back: the slices of a node's workers cross the network side by side, and
// each crosses it once for every other node.
//
// Wire types: what travels may be bf16 or fp16. A partial sum of gradients is rounded each time it
// goes over a link, and added in fp32; the owner's sum is not rounded. Values are rounded once, by
// their owner, in its own arena too: all workers compute with the same bits. (The owner keeps the
// unrounded values elsewhere if it wants to go on from them.)
//
// Threading: one Exchange per worker, called by that worker's trainer thread; a progress thread
// per worker moves the data. ExchangeGroup joins the workers of a process, and through a World
// those of other processes: the sums, and so the bits, depend on the wiring alone, not on where
// workers run.
//
// Memory: neighbours read each other's arenas, and Commit is the only barrier of a step. It
// suffices, because a worker's arenas change only between its own calls:
//   gradients  From Collect(b) on only the exchange writes there: a worker adds into a range, then
//              publishes it, then one neighbour reads it. Each such reading goes into some owner's
//              sum, and no worker enters Commit before its own sums are complete: so when Commit
//              returns, to anyone, nobody reads gradients any more, and backward may write them.
//   values     A worker writes its own slices between Commit and Distribute(b), and the exchange
//              its other slices between its Distribute(b) and WaitValues(b). No worker enters the
//              next Commit before it has the values of all buckets: so when that returns, nobody
//              reads values any more, and owners may update theirs.
// Hence the order of calls is CHECKed: Collect of all buckets, FinishCollect, Commit, Distribute,
// and WaitValues before the next Collect or Commit; a step may leave buckets out, but all workers
// the same ones, and each goes at most once between two Commits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/device/device.h"

namespace mariana {

class Link;
struct LinkEnds;
class World;

enum class Topology : uint8_t { kLinear, kRing, kTwoLevel };
const char* Name(Topology t);

// How workers are joined: a pure description, the same in every process of a job.
struct Wiring {
  Topology topology = Topology::kLinear;
  int workers = 1;
  std::vector<int> node_of;  // worker -> node, from 0 upwards, ascending; empty: all on one
};

// The type of a number that travels.
enum class Wire : uint8_t { kF32, kBf16, kF16 };
const char* Name(Wire w);
constexpr int64_t BytesOf(Wire w) { return w == Wire::kF32 ? 4 : 2; }

// Half-open range of arena elements.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// Slice `worker` of `bucket` among n workers: contiguous, starting a multiple of 16 elements from
// the bucket's start, sizes differ by at most 16, possibly empty.
Range SliceOf(Range bucket, int worker, int n);

// Cuts [0, elements) into buckets at the given op boundaries (ascending, first 0, last
// `elements`): each of at least `min_elements` unless it is the last one formed. Buckets are in
// arena order; backward completes them from the back.
std::vector<Range> MakeBuckets(const std::vector<int64_t>& boundaries, int64_t min_elements);

// Sums over all workers, in worker order. Reals are added in worker order; flags are or-ed.
struct CommitValues {
  double squared_norm = 0;  // of the worker's owned slices after collect; NaN/Inf = not finite
  double loss = 0;
  int64_t correct = 0;
  int64_t samples = 0;
  bool stop = false;  // a signal came in
};

// What travelled over the link from `from` to `to` since the start.
struct LinkBytes {
  int from = 0, to = 0;
  int64_t collect = 0, distribute = 0;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual int worker() const = 0;
  virtual int workers() const = 0;
  // What this worker owns of bucket b.
  virtual Range Owned(int bucket) const = 0;

  // Starts collecting bucket b: the gradients there are final and not touched until Commit
  // returns. Returns at once.
  virtual void Collect(int bucket) = 0;
  // Waits until this worker's slices of all collected buckets hold the sums.
  virtual void FinishCollect() = 0;
  // All workers meet here; every one gets the same result.
  virtual CommitValues Commit(const CommitValues& mine) = 0;
  // Gathers `n` floats from every worker (counts may differ) into `all`, in worker order, on all.
  // Host memory. Used for batch-norm statistics.
  virtual void GatherHost(const float* mine, int64_t n, std::vector<float>* all) = 0;
  // Starts distributing bucket b: this worker's slice of the values is updated.
  virtual void Distribute(int bucket) = 0;
  // Waits until all slices of bucket b hold new values (returns at once if none is under way).
  virtual void WaitValues(int bucket) = 0;

  // Seconds this worker's trainer thread spent waiting: {collect, commit (and gather), values}.
  virtual std::vector<double> WaitSeconds() const = 0;
};

struct ExchangeOptions : Wiring {
  std::vector<Range> buckets;
  int64_t chunk_elements = 1 << 16;   // pipelining unit along the topology; changes no bits
  Wire collect_wire = Wire::kF32;     // of gradients
  Wire distribute_wire = Wire::kF32;  // of values
  Clock* clock = nullptr;             // null: the real clock
  // The processes, and the worker's rank among them, ascending; without them all workers are here.
  // One group at a time stands on a world, and goes before it.
  World* world = nullptr;
  std::vector<int> rank_of;
  // The arenas are in memory of the workers' devices that the host does not read; fp32 travels.
  bool device_memory = false;
  // Makes a link with an end in this process; empty: memory within it, messages of the world
  // between ranks.
  std::function<std::unique_ptr<Link>(const LinkEnds&)> make_link;
};

// The workers of this process. With one worker in all every call returns at once.
class ExchangeGroup {
 public:
  static std::unique_ptr<ExchangeGroup> Make(const ExchangeOptions& options);
  virtual ~ExchangeGroup() = default;
  // Worker w's end, over its arenas. `on_values(begin, n)` runs on w's progress thread when values
  // arrived from another worker (to refresh bf16 shadows); may be empty. Call once per worker
  // before the first step; the group owns the result. The arenas must outlive the group: after a
  // failure neighbours may still be reading them. `device` may be null: plain host memory.
  virtual Exchange* Join(int worker, Device* device, float* grads, float* values,
                         std::function<void(int64_t begin, int64_t n)> on_values) = 0;
  // Worker w failed: every blocked or later call of any worker throws Error with this code and
  // "worker <w>, <phase>: <message>" (phase: what w was doing), on every rank. The first failure
  // wins; the world's is one too.
  virtual void Abort(int worker, const std::string& phase, int exit_code,
                     const std::string& message) = 0;
  // Of the links with an end here.
  virtual std::vector<LinkBytes> Traffic() const = 0;
};

// Bytes that go over the link from -> to in one step of `buckets`; 0 where the wiring has none.
LinkBytes ExpectedTraffic(const Wiring& wiring, const std::vector<Range>& buckets, int from, int to,
                          Wire collect = Wire::kF32, Wire distribute = Wire::kF32);

}  // namespace mariana
