// Slices, buckets, schedules and traffic: the pure part of the exchange.
#include "common/comm/schedule.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <string>

#include "common/base/random.h"

namespace mariana {
namespace {

constexpr Topology kTopologies[] = {Topology::kLinear, Topology::kRing};
constexpr Phase kPhases[] = {Phase::kCollect, Phase::kDistribute};

// Contiguous buckets of 0 to `most` elements; many have fewer than 16 a worker.
std::vector<Range> RandomBuckets(RandomSequence* random, int64_t most) {
  std::vector<Range> buckets;
  int64_t at = 16 * static_cast<int64_t>(random->Below(3));
  for (uint64_t b = random->Below(5); b-- > 0;) {
    const int64_t size = static_cast<int64_t>(random->Below(static_cast<uint64_t>(most)));
    buckets.push_back({at, at + size});
    at += (size + 15) / 16 * 16;
  }
  return buckets;
}

TEST_CASE("slices cover a bucket in order, aligned, and differ by at most 16") {
  for (int64_t size : {0, 1, 15, 16, 17, 31, 80, 100, 1000, 65536, 65537}) {
    for (int n = 1; n <= 7; ++n) {
      const Range bucket = {32, 32 + size};
      int64_t at = bucket.begin, least = size, most = 0;
      for (int w = 0; w < n; ++w) {
        const Range s = SliceOf(bucket, w, n);
        REQUIRE(s.begin == at);
        if (s.size() > 0) REQUIRE(s.begin % 16 == 0);
        at = s.end;
        least = std::min(least, s.size());
        most = std::max(most, s.size());
      }
      REQUIRE(at == bucket.end);
      REQUIRE(most - least <= 16);
    }
  }
}

TEST_CASE("buckets are cut at op boundaries, from the back") {
  const auto cut = [](const std::vector<int64_t>& boundaries, int64_t least) {
    std::string all;
    for (Range r : MakeBuckets(boundaries, least)) {
      all += std::to_string(r.begin) + "-" + std::to_string(r.end) + " ";
    }
    return all;
  };
  CHECK(cut({0, 100, 200, 300}, 1) == "0-100 100-200 200-300 ");
  CHECK(cut({0, 100, 200, 300}, 150) == "0-100 100-300 ");
  CHECK(cut({0, 100, 200, 300}, 300) == "0-300 ");
  CHECK(cut({0, 100, 200, 300}, 10000) == "0-300 ");
  CHECK(cut({0, 5, 5, 300, 310}, 10) == "0-5 5-300 300-310 ");
  CHECK(cut({0}, 10) == "");
  CHECK(cut({0, 0}, 0) == "");
}

// Runs the steps of all workers in a random order in which each is ready, with strings instead
// of floats: the formula of element `at`, which ends in the owner (collect) or everywhere.
struct Simulation {
  Simulation(Topology t, int n, Phase phase, Range bucket, int64_t chunk) : n(n) {
    for (int w = 0; w < n; ++w) {
      lanes.push_back(MakeSchedule(t, n, w, phase, bucket, chunk));
      next.emplace_back(n, 0);
    }
  }

  bool RunOne(RandomSequence* random) {
    const int start = static_cast<int>(random->Below(static_cast<uint64_t>(n * n)));
    for (int i = 0; i < n * n; ++i) {
      const int w = (start + i) % (n * n) / n, p = (start + i) % n;
      const auto& steps = lanes[w][p].steps;
      if (next[w][p] == steps.size()) continue;
      const Step& s = steps[next[w][p]];
      if (s.receives() && published[{s.peer, w, s.range.begin}] == 0) continue;
      Run(w, s);
      ++next[w][p];
      return true;
    }
    return false;
  }

  void Run(int w, const Step& s) {
    REQUIRE(s.range.size() > 0);
    bytes[{s.peer, w}] += s.bytes();
    if (s.kind == Step::Kind::kPublish) {
      REQUIRE(published[{w, s.peer, s.range.begin}]++ == 0);
      return;
    }
    for (int64_t i = s.range.begin; i < s.range.end; ++i) {
      std::string& mine = at(w, i);
      mine = s.kind == Step::Kind::kAdd ? "(" + mine + "+" + at(s.peer, i) + ")" : at(s.peer, i);
    }
  }

  std::string& at(int w, int64_t i) {
    return elements.try_emplace({w, i}, std::to_string(w)).first->second;
  }

  const int n;
  std::vector<std::vector<Lane>> lanes;                    // [worker][slice]
  std::vector<std::vector<size_t>> next;                   // [worker][slice]
  std::map<std::tuple<int, int, int64_t>, int> published;  // from, to, begin
  std::map<std::pair<int, int>, int64_t> bytes;            // from, to
  std::map<std::pair<int, int64_t>, std::string> elements;
};

std::string ExpectedSum(Topology t, int n, int owner) {
  const auto fold = [](int from, int to, int by, int n) {
    std::string sum = std::to_string(from);
    for (int w = from; w != to;) {
      w = (w + by + n) % n;
      sum = "(" + std::to_string(w) + "+" + sum + ")";
    }
    return sum;
  };
  if (t == Topology::kRing) return fold((owner + 1) % n, owner, 1, n);
  std::string sum = fold(0, owner, 1, n);
  if (owner < n - 1) sum = "(" + sum + "+" + fold(n - 1, owner + 1, -1, n) + ")";
  return sum;
}

TEST_CASE("whatever the order of ready steps, sums have one formula and values reach everyone") {
  RandomSequence random(7, 0);
  for (int trial = 0; trial < 60; ++trial) {
    const Topology t = kTopologies[trial % 2];
    const int n = 1 + trial / 2 % 6;
    const int64_t chunk = 1 + static_cast<int64_t>(random.Below(40));
    for (Range bucket : RandomBuckets(&random, 200)) {
      for (Phase phase : kPhases) {
        Simulation s(t, n, phase, bucket, chunk);
        while (s.RunOne(&random)) {
        }
        for (int p = 0; p < n; ++p) {
          const Range slice = SliceOf(bucket, p, n);
          for (int w = 0; w < n; ++w) {
            REQUIRE(s.next[w][p] == s.lanes[w][p].steps.size());  // no deadlock
            for (int64_t i = slice.begin; i < slice.end; ++i) {
              if (phase == Phase::kDistribute) REQUIRE(s.at(w, i) == std::to_string(p));
              if (phase == Phase::kCollect && w == p) REQUIRE(s.at(w, i) == ExpectedSum(t, n, p));
            }
          }
        }
        for (int from = 0; from < n; ++from) {
          for (int to = 0; to < n; ++to) {
            const LinkBytes expected = ExpectedTraffic(t, n, {bucket}, from, to);
            const int64_t bytes = s.bytes[{from, to}];
            REQUIRE(bytes == (phase == Phase::kCollect ? expected.collect : expected.distribute));
          }
        }
      }
    }
  }
}

TEST_CASE("a chain's links carry M bytes each way over the two phases, a ring's 2(n-1)/n M") {
  const std::vector<Range> buckets = {{0, 960}, {960, 9600}};  // slices of one size for n <= 6
  const int64_t m = 9600 * 4;
  for (int n = 2; n <= 6; ++n) {
    for (const LinkBytes& link : LinksOf(Topology::kLinear, n)) {
      const LinkBytes b = ExpectedTraffic(Topology::kLinear, n, buckets, link.from, link.to);
      CHECK(b.collect + b.distribute == m);
      const int hops = link.to > link.from ? n - 1 - link.from : link.from;
      CHECK(b.collect == m / n * hops);
    }
    for (const LinkBytes& link : LinksOf(Topology::kRing, n)) {
      const LinkBytes b = ExpectedTraffic(Topology::kRing, n, buckets, link.from, link.to);
      CHECK(b.collect == m / n * (n - 1));
      CHECK(b.distribute == m / n * (n - 1));
    }
  }
  CHECK(ExpectedTraffic(Topology::kLinear, 4, buckets, 0, 2).collect == 0);
  CHECK(ExpectedTraffic(Topology::kRing, 4, buckets, 1, 0).collect == 0);
  CHECK(ExpectedTraffic(Topology::kRing, 1, buckets, 0, 0).collect == 0);
}

TEST_CASE("topologies have their links and names") {
  const auto links = [](Topology t, int n) {
    std::string all;
    for (const LinkBytes& l : LinksOf(t, n)) {
      all += std::to_string(l.from) + std::to_string(l.to) + " ";
    }
    return all;
  };
  CHECK(links(Topology::kLinear, 1) == "");
  CHECK(links(Topology::kLinear, 3) == "01 10 12 21 ");
  CHECK(links(Topology::kRing, 1) == "");
  CHECK(links(Topology::kRing, 2) == "01 10 ");
  CHECK(links(Topology::kRing, 3) == "01 12 20 ");
  CHECK(Name(Topology::kLinear) == std::string("linear"));
  CHECK(Name(Topology::kRing) == std::string("ring"));
}

}  // namespace
}  // namespace mariana
