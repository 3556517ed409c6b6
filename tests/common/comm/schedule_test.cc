// Slices, buckets, schedules and traffic: the pure part of the exchange.
#include "common/comm/schedule.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "common/base/random.h"
#include "common/comm/link_speed.h"
#include "common/comm/world.h"

namespace mariana {
namespace {

constexpr Topology kTopologies[] = {Topology::kLinear, Topology::kRing, Topology::kTwoLevel};
constexpr Phase kPhases[] = {Phase::kCollect, Phase::kDistribute};

Wiring WiringOf(Topology t, int n, int nodes = 1) {
  Wiring wiring;
  wiring.topology = t;
  wiring.workers = n;
  for (int w = 0; nodes > 1 && w < n; ++w) wiring.node_of.push_back(w * nodes / n);
  return wiring;
}

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
  Simulation(const Wiring& wiring, Phase phase, Range bucket, int64_t chunk, Wire wire)
      : n(wiring.workers) {
    for (int w = 0; w < n; ++w) {
      lanes.push_back(MakeSchedule(wiring, w, phase, bucket, chunk, wire));
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

// Along the chain [first, first + size) to `owner`, from both ends.
std::string ChainSum(int first, int size, int owner) {
  const auto fold = [&](int from, int by) {
    std::string sum = std::to_string(from);
    for (int w = from; w != owner;) {
      w += by;
      sum = "(" + std::to_string(w) + "+" + sum + ")";
    }
    return sum;
  };
  if (owner == first) {
    return size == 1 ? std::to_string(owner) : fold(first + size - 1, -1);
  }
  std::string sum = fold(first, 1);
  if (owner == first + size - 1) return sum;
  // The right neighbour's sum comes last.
  std::string right = std::to_string(first + size - 1);
  for (int w = first + size - 1; w != owner + 1;) {
    --w;
    right = "(" + std::to_string(w) + "+" + right + ")";
  }
  return "(" + sum + "+" + right + ")";
}

std::string ExpectedSum(const Wiring& wiring, int owner) {
  const int n = wiring.workers;
  if (wiring.topology == Topology::kLinear) return ChainSum(0, n, owner);
  // A ring of single workers, or of nodes with their chains' sums.
  std::vector<std::string> sums;
  int home = owner;
  if (wiring.topology == Topology::kRing) {
    for (int w = 0; w < n; ++w) sums.push_back(std::to_string(w));
  } else {
    std::vector<std::pair<int, int>> spans;  // first, size
    for (int w = 0; w < n; ++w) {
      const size_t node = wiring.node_of.empty() ? 0 : static_cast<size_t>(wiring.node_of[w]);
      if (node == spans.size()) spans.push_back({w, 0});
      ++spans[node].second;
      if (w == owner) home = static_cast<int>(node);
    }
    const int place = owner - spans[home].first;
    for (const auto& [first, size] : spans)
      sums.push_back(ChainSum(first, size, first + place % size));
  }
  const int k = static_cast<int>(sums.size());
  std::string sum = sums[(home + 1) % k];
  for (int i = 2; i <= k; ++i) sum = "(" + sums[(home + i) % k] + "+" + sum + ")";
  return sum;
}

TEST_CASE("whatever the order of ready steps, sums have one formula and values reach everyone") {
  RandomSequence random(7, 0);
  for (int trial = 0; trial < 96; ++trial) {
    const int n = 1 + trial / 3 % 8;
    const int nodes = 1 + static_cast<int>(random.Below(static_cast<uint64_t>(std::min(n, 4))));
    const Wiring wiring = WiringOf(kTopologies[trial % 3], n, nodes);
    const Wire wire = trial % 2 == 0 ? Wire::kF32 : Wire::kBf16;
    CAPTURE(Name(wiring.topology), n, nodes);
    const int64_t chunk = 1 + static_cast<int64_t>(random.Below(40));
    for (Range bucket : RandomBuckets(&random, 200)) {
      for (Phase phase : kPhases) {
        Simulation s(wiring, phase, bucket, chunk, wire);
        while (s.RunOne(&random)) {
        }
        for (int p = 0; p < n; ++p) {
          const Range slice = SliceOf(bucket, p, n);
          for (int w = 0; w < n; ++w) {
            REQUIRE(s.next[w][p] == s.lanes[w][p].steps.size());  // no deadlock
            for (int64_t i = slice.begin; i < slice.end; ++i) {
              if (phase == Phase::kDistribute) REQUIRE(s.at(w, i) == std::to_string(p));
              if (phase == Phase::kCollect && w == p) REQUIRE(s.at(w, i) == ExpectedSum(wiring, p));
            }
          }
        }
        for (int from = 0; from < n; ++from) {
          for (int to = 0; to < n; ++to) {
            const LinkBytes expected = ExpectedTraffic(wiring, {bucket}, from, to, wire, wire);
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
    for (const LinkBytes& link : LinksOf(WiringOf(Topology::kLinear, n))) {
      const LinkBytes b =
          ExpectedTraffic(WiringOf(Topology::kLinear, n), buckets, link.from, link.to);
      CHECK(b.collect + b.distribute == m);
      const int hops = link.to > link.from ? n - 1 - link.from : link.from;
      CHECK(b.collect == m / n * hops);
    }
    for (const LinkBytes& link : LinksOf(WiringOf(Topology::kRing, n))) {
      const LinkBytes b =
          ExpectedTraffic(WiringOf(Topology::kRing, n), buckets, link.from, link.to);
      CHECK(b.collect == m / n * (n - 1));
      CHECK(b.distribute == m / n * (n - 1));
    }
  }
  CHECK(ExpectedTraffic(WiringOf(Topology::kLinear, 4), buckets, 0, 2).collect == 0);
  CHECK(ExpectedTraffic(WiringOf(Topology::kRing, 4), buckets, 1, 0).collect == 0);
  CHECK(ExpectedTraffic(WiringOf(Topology::kRing, 1), buckets, 0, 0).collect == 0);
}

TEST_CASE("between nodes each slice travels once for every other node, side by side with others") {
  const std::vector<Range> buckets = {{0, 9600}};
  const int64_t m = 9600 * 4;
  for (const int nodes : {2, 3, 4}) {
    const Wiring wiring = WiringOf(Topology::kTwoLevel, 2 * nodes, nodes);
    std::map<std::pair<int, int>, int64_t> crossing;
    for (const LinkBytes& l : LinksOf(wiring)) {
      const int from = wiring.node_of[l.from], to = wiring.node_of[l.to];
      const LinkBytes b = ExpectedTraffic(wiring, buckets, l.from, l.to);
      if (from == to) continue;
      CHECK(l.from % 2 == l.to % 2);  // a ring for each place in the node
      CHECK(b.collect == m / 2 / nodes * (nodes - 1));
      crossing[{from, to}] += b.collect + b.distribute;
    }
    CHECK(static_cast<int>(crossing.size()) == nodes);
    for (const auto& [pair, bytes] : crossing) CHECK(bytes == 2 * m / nodes * (nodes - 1));
  }
}

TEST_CASE(
    "the size of buckets follows the speed of links, in steps that measuring does not cross") {
  const auto name = [](double bytes_per_second) { return ClassOf(bytes_per_second).name; };
  CHECK(name(0) == "100 Mbit/s");
  CHECK(name(25e6) == "100 Mbit/s");  // 200 Mbit/s
  CHECK(name(80e6) == "1 Gbit/s");
  CHECK(name(118e6) == "1 Gbit/s");
  CHECK(name(280e6) == "1 Gbit/s");
  CHECK(name(1e9) == "10 Gbit/s or more");
  CHECK(name(1e11) == "10 Gbit/s or more");
  const int64_t mega = 1 << 20, arena = 200 * mega;
  CHECK(ChooseBucketBytes(arena, 2, MemorySpeed()) == mega);
  CHECK(ChooseBucketBytes(arena, 8, MemorySpeed()) == 4 * mega);
  CHECK(ChooseBucketBytes(8 * mega, 8, MemorySpeed()) == mega);  // 8 buckets to overlap
  CHECK(ChooseBucketBytes(arena, 4, ClassOf(25e6)) == mega / 16);
  CHECK(ChooseBucketBytes(arena, 4, ClassOf(118e6)) == mega / 4);
  CHECK(ChooseBucketBytes(1000, 4, ClassOf(1e10)) == mega / 16);
}

TEST_CASE("between ranks the link is measured, and all choose alike") {
  const auto worlds = MakeThreadWorlds({"a", "b", "c"});
  std::vector<std::thread> threads;
  std::vector<int64_t> chosen(3);
  std::vector<std::string> why(3);
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back(
        [&, r] { chosen[r] = BucketBytes(0, 1 << 30, 3, worlds[r].get(), &why[r]); });
  }
  for (auto& t : threads) t.join();
  CHECK(chosen == std::vector<int64_t>(3, chosen[0]));
  CHECK(why == std::vector<std::string>(3, why[0]));
  CHECK(why[0].find("measured between ranks") != std::string::npos);
  CHECK(BucketBytes(8192, 1 << 30, 3, nullptr, &why[0]) == 8192);
  CHECK(why[0] == "of at least 8 KiB: the config says so");
}

TEST_CASE("topologies have their links and names") {
  const auto links = [](Topology t, int n, int nodes = 1) {
    std::string all;
    for (const LinkBytes& l : LinksOf(WiringOf(t, n, nodes))) {
      all += std::to_string(l.from) + std::to_string(l.to) + " ";
    }
    return all;
  };
  CHECK(links(Topology::kLinear, 1) == "");
  CHECK(links(Topology::kLinear, 3) == "01 10 12 21 ");
  CHECK(links(Topology::kRing, 1) == "");
  CHECK(links(Topology::kRing, 2) == "01 10 ");
  CHECK(links(Topology::kRing, 3) == "01 12 20 ");
  CHECK(links(Topology::kTwoLevel, 1) == "");
  CHECK(links(Topology::kTwoLevel, 3) == "01 10 12 21 ");  // one node: its chain
  CHECK(links(Topology::kTwoLevel, 3, 3) == "01 12 20 ");  // one worker a node: the ring
  CHECK(links(Topology::kTwoLevel, 4, 2) == "01 02 10 13 20 23 31 32 ");
  CHECK(Name(Topology::kTwoLevel) == std::string("two_level"));
  CHECK(Name(Topology::kLinear) == std::string("linear"));
  CHECK(Name(Topology::kRing) == std::string("ring"));
}

}  // namespace
}  // namespace mariana
