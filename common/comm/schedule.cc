#include "common/comm/schedule.h"

#include <glog/logging.h>

#include <algorithm>
#include <set>
#include <utility>

namespace mariana {
namespace {

// Whom a worker receives from (in this order), and publishes to, in one lane.
struct Role {
  std::vector<int> from, to;
};

// Towards the owner `p` along an open chain. Distribute is the same path walked back.
Role LinearRole(int n, int worker, int p) {
  Role role;
  if (worker <= p && worker > 0) role.from.push_back(worker - 1);
  if (worker >= p && worker < n - 1) role.from.push_back(worker + 1);
  if (worker != p) role.to.push_back(worker < p ? worker + 1 : worker - 1);
  return role;
}

// Around the ring in ascending order, starting behind the owner (collect) or at it (distribute).
Role RingRole(int n, int worker, int p, Phase phase) {
  const int source = phase == Phase::kCollect ? (p + 1) % n : p;
  const int hops = (worker - source + n) % n;
  Role role;
  if (hops > 0) role.from.push_back((worker + n - 1) % n);
  if (hops < n - 1) role.to.push_back((worker + 1) % n);
  return role;
}

// The workers [first, first + size) of a worker's node, and which of the nodes it is.
struct NodeSpan {
  int node = 0, first = 0, size = 0;
};

NodeSpan NodeOf(const Wiring& wiring, int worker) {
  if (wiring.node_of.empty()) return {0, 0, wiring.workers};
  const auto& nodes = wiring.node_of;
  CHECK_EQ(static_cast<int>(nodes.size()), wiring.workers);
  const auto [begin, end] = std::equal_range(nodes.begin(), nodes.end(), nodes[worker]);
  return {nodes[worker], static_cast<int>(begin - nodes.begin()), static_cast<int>(end - begin)};
}

int Nodes(const Wiring& wiring) { return wiring.node_of.empty() ? 1 : wiring.node_of.back() + 1; }

// The worker of `node` that stands for the owner of slice p there.
int Delegate(const Wiring& wiring, int node, int p) {
  const NodeSpan home = NodeOf(wiring, p);
  if (node == home.node) return p;
  const auto at = std::lower_bound(wiring.node_of.begin(), wiring.node_of.end(), node);
  const NodeSpan span = NodeOf(wiring, static_cast<int>(at - wiring.node_of.begin()));
  return span.first + (p - home.first) % span.size;
}

Role TwoLevelRole(const Wiring& wiring, int worker, int p, Phase phase) {
  const NodeSpan mine = NodeOf(wiring, worker);
  const int delegate = Delegate(wiring, mine.node, p);
  Role role = LinearRole(mine.size, worker - mine.first, delegate - mine.first);
  for (int& peer : role.from) peer += mine.first;
  for (int& peer : role.to) peer += mine.first;
  if (phase == Phase::kDistribute) std::swap(role.from, role.to);
  if (worker != delegate) return role;
  const Role outer = RingRole(Nodes(wiring), mine.node, NodeOf(wiring, p).node, phase);
  for (int node : outer.from) role.from.push_back(Delegate(wiring, node, p));
  for (int node : outer.to) role.to.insert(role.to.begin(), Delegate(wiring, node, p));
  return role;
}

Role RoleOf(const Wiring& wiring, int worker, Phase phase, int slice) {
  const int n = wiring.workers;
  if (wiring.topology == Topology::kRing) return RingRole(n, worker, slice, phase);
  if (wiring.topology == Topology::kTwoLevel) return TwoLevelRole(wiring, worker, slice, phase);
  Role role = LinearRole(n, worker, slice);
  if (phase == Phase::kDistribute) std::swap(role.from, role.to);
  return role;
}

}  // namespace

std::vector<Lane> MakeSchedule(const Wiring& wiring, int worker, Phase phase, Range bucket,
                               int64_t chunk_elements, Wire wire) {
  CHECK_GE(chunk_elements, 1);
  const auto receive = phase == Phase::kCollect ? Step::Kind::kAdd : Step::Kind::kCopy;
  std::vector<Lane> lanes(wiring.workers);
  for (int p = 0; p < wiring.workers; ++p) {
    lanes[p].slice = p;
    const Role role = RoleOf(wiring, worker, phase, p);
    const Range slice = SliceOf(bucket, p, wiring.workers);
    for (int64_t at = slice.begin; at < slice.end; at += chunk_elements) {
      const Range chunk = {at, std::min(at + chunk_elements, slice.end)};
      for (int peer : role.from) lanes[p].steps.push_back({receive, peer, chunk, wire});
      for (int peer : role.to) lanes[p].steps.push_back({Step::Kind::kPublish, peer, chunk, wire});
    }
  }
  return lanes;
}

std::vector<LinkBytes> LinksOf(const Wiring& wiring) {
  std::set<std::pair<int, int>> pairs;
  for (Phase phase : {Phase::kCollect, Phase::kDistribute}) {
    for (int p = 0; p < wiring.workers; ++p) {
      for (int from = 0; from < wiring.workers; ++from) {
        for (int to : RoleOf(wiring, from, phase, p).to) pairs.insert({from, to});
      }
    }
  }
  std::vector<LinkBytes> links;
  for (const auto& [from, to] : pairs) links.push_back({from, to});
  return links;
}

LinkBytes ExpectedTraffic(const Wiring& wiring, const std::vector<Range>& buckets, int from, int to,
                          Wire collect, Wire distribute) {
  LinkBytes bytes{from, to};
  const auto carries = [&](Phase phase, int p) {
    const std::vector<int> peers = RoleOf(wiring, from, phase, p).to;
    return std::find(peers.begin(), peers.end(), to) != peers.end();
  };
  for (int p = 0; p < wiring.workers; ++p) {
    int64_t elements = 0;
    for (const Range& bucket : buckets) elements += SliceOf(bucket, p, wiring.workers).size();
    if (carries(Phase::kCollect, p)) bytes.collect += elements * BytesOf(collect);
    if (carries(Phase::kDistribute, p)) bytes.distribute += elements * BytesOf(distribute);
  }
  return bytes;
}

}  // namespace mariana
