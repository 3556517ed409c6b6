// The arithmetic of an exchange on a described machine: the time that its busiest link needs, which
// no schedule can beat. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "common/comm/exchange.h"
#include "common/machine/machine.h"

namespace mariana {

// Seconds for one phase of exchanging `buckets` between the machine's first wiring.workers devices.
struct ExchangeBound {
  double collect = 0, distribute = 0;
  double both = 0;  // the phases of neighbouring buckets side by side
};
ExchangeBound BoundOf(const Machine& machine, const Wiring& wiring,
                      const std::vector<Range>& buckets, Wire collect = Wire::kF32,
                      Wire distribute = Wire::kF32);

// How n devices of the machine are joined. node_of is empty where they are on one.
Wiring WiringOf(const Machine& machine, Topology topology, int n);

// The topology with the least bound, the first of equals; `why` says so.
Topology FastestTopology(const Machine& machine, int n, std::string* why);

}  // namespace mariana
