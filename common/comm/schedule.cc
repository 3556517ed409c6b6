#include "common/comm/schedule.h"

#include <glog/logging.h>

#include <algorithm>

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

Role RoleOf(Topology t, int n, int worker, Phase phase, int slice) {
  if (t == Topology::kRing) return RingRole(n, worker, slice, phase);
  Role role = LinearRole(n, worker, slice);
  if (phase == Phase::kDistribute) std::swap(role.from, role.to);
  return role;
}

}  // namespace

std::vector<Lane> MakeSchedule(Topology t, int n, int worker, Phase phase, Range bucket,
                               int64_t chunk_elements) {
  CHECK_GE(chunk_elements, 1);
  const auto receive = phase == Phase::kCollect ? Step::Kind::kAdd : Step::Kind::kCopy;
  std::vector<Lane> lanes(n);
  for (int p = 0; p < n; ++p) {
    lanes[p].slice = p;
    const Role role = RoleOf(t, n, worker, phase, p);
    const Range slice = SliceOf(bucket, p, n);
    for (int64_t at = slice.begin; at < slice.end; at += chunk_elements) {
      const Range chunk = {at, std::min(at + chunk_elements, slice.end)};
      for (int peer : role.from) lanes[p].steps.push_back({receive, peer, chunk});
      for (int peer : role.to) lanes[p].steps.push_back({Step::Kind::kPublish, peer, chunk});
    }
  }
  return lanes;
}

std::vector<LinkBytes> LinksOf(Topology t, int n) {
  std::vector<LinkBytes> links;
  for (int from = 0; from < n; ++from) {
    for (int to = 0; to < n; ++to) {
      const bool linked = t == Topology::kLinear ? to == from - 1 || to == from + 1
                                                 : to != from && to == (from + 1) % n;
      if (linked) links.push_back({from, to});
    }
  }
  return links;
}

// Linear: rightward, a link carries the sums for every slice owned to its right and the values of
// every slice owned to its left; together the whole bucket, M bytes each way over the two phases.
// Ring: all but the slice that starts behind the link.
LinkBytes ExpectedTraffic(Topology t, int n, const std::vector<Range>& buckets, int from, int to) {
  LinkBytes bytes{from, to};
  for (const Range& bucket : buckets) {
    for (int p = 0; p < n; ++p) {
      const int64_t slice = SliceOf(bucket, p, n).size() * int64_t{sizeof(float)};
      if (t == Topology::kRing) {
        if (n == 1 || to != (from + 1) % n) continue;
        if (p != from) bytes.collect += slice;
        if (p != to) bytes.distribute += slice;
      } else if (to == from + 1) {
        (p >= to ? bytes.collect : bytes.distribute) += slice;
      } else if (to == from - 1) {
        (p <= to ? bytes.collect : bytes.distribute) += slice;
      }
    }
  }
  return bytes;
}

}  // namespace mariana
