// Routes: the links of a machine as directed edges between numbered parts, and the way that data
// takes over them. Immutable, thread-safe.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/machine/machine.h"

namespace mariana {

// One direction of one link.
struct Edge {
  std::string name;      // "pcie gpu0 > socket0", on several nodes "node1 pcie gpu0 > socket0"
  int from = 0, to = 0;  // parts
  double bytes_per_ns = 0;
  double latency_ns = 0;
};

// Edges in the order in which data passes them; empty within one part.
struct Route {
  std::vector<int> edges;
  double latency_ns = 0;    // of all edges together
  double bytes_per_ns = 0;  // of the slowest
};

class Routes {
 public:
  // The machine has no mistake.
  explicit Routes(const Machine& machine);

  const std::vector<Edge>& edges() const { return edges_; }
  Route BetweenDevices(int from, int to) const;
  Route FromHost(int device) const;
  Route ToHost(int device) const;

 private:
  friend std::string RoutesMistake(const Machine& machine);
  int Part(int node, const std::string& name);
  void Join(int a, int b, const std::string& label, const LinkSpec& link);
  // Empty where there is no way.
  std::vector<int> Shortest(int from, int to) const;
  Route Measure(const std::vector<int>& edges) const;
  int HostOf(int device) const;

  Machine machine_;
  std::map<std::pair<int, std::string>, int> parts_;  // (node, name); of the network: node 0
  std::set<int> devices_;                             // parts
  std::vector<Edge> edges_;
  std::vector<std::vector<int>> leaving_;  // [part] -> edges
};

// What is wrong with the links of a machine; "" when nothing is.
std::string RoutesMistake(const Machine& machine);

}  // namespace mariana
