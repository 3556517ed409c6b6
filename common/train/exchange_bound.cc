#include "common/train/exchange_bound.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/machine/routes.h"

namespace mariana {

ExchangeBound BoundOf(const Machine& machine, const Wiring& wiring,
                      const std::vector<Range>& buckets, Wire collect, Wire distribute) {
  const Routes routes(machine);
  std::vector<double> collected(routes.edges().size()), distributed(routes.edges().size());
  for (int from = 0; from < wiring.workers; ++from) {
    for (int to = 0; to < wiring.workers; ++to) {
      if (from == to) continue;
      const LinkBytes bytes = ExpectedTraffic(wiring, buckets, from, to, collect, distribute);
      if (bytes.collect + bytes.distribute == 0) continue;
      for (const int e : routes.BetweenDevices(from, to).edges) {
        const auto i = static_cast<size_t>(e);
        const double rate = routes.edges()[i].bytes_per_ns * 1e9;
        collected[i] += static_cast<double>(bytes.collect) / rate;
        distributed[i] += static_cast<double>(bytes.distribute) / rate;
      }
    }
  }
  ExchangeBound bound;
  for (size_t e = 0; e < collected.size(); ++e) {
    bound.collect = std::max(bound.collect, collected[e]);
    bound.distribute = std::max(bound.distribute, distributed[e]);
    bound.both = std::max(bound.both, collected[e] + distributed[e]);
  }
  return bound;
}

Wiring WiringOf(const Machine& machine, Topology topology, int n) {
  Wiring wiring;
  wiring.topology = topology;
  wiring.workers = n;
  for (int w = 0; w < n && n > machine.devices; ++w) wiring.node_of.push_back(machine.node_of(w));
  return wiring;
}

Topology FastestTopology(const Machine& machine, int n, std::string* why) {
  if (n == 1) {
    *why = "none: one worker exchanges nothing";
    return Topology::kLinear;
  }
  const std::vector<Range> whole{{0, int64_t{1} << 28}};  // 1 GB
  Topology best = Topology::kLinear;
  double least = 0;
  std::string all;
  for (const Topology t : {Topology::kLinear, Topology::kRing, Topology::kTwoLevel}) {
    if (t == Topology::kTwoLevel && n <= machine.devices) continue;
    const double seconds = BoundOf(machine, WiringOf(machine, t, n), whole).both;
    char text[64];
    std::snprintf(text, sizeof text, "%s%s %.1f ms", all.empty() ? "" : ", ", Name(t),
                  seconds * 1e3);
    all += text;
    if (all == text || seconds < least * 0.999) {
      best = t;
      least = seconds;
    }
  }
  *why = StrCat(Name(best), ": a GB takes the busiest link at least ", all);
  return best;
}

}  // namespace mariana
