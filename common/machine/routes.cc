#include "common/machine/routes.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <queue>

#include "common/base/error.h"

namespace mariana {
namespace {

// "gpu0-3" -> gpu0, gpu1, gpu2, gpu3.
std::vector<std::string> Expand(const std::string& name) {
  const size_t dash = name.find('-');
  size_t digits = dash;
  while (digits != std::string::npos && digits > 0 && std::isdigit(name[digits - 1])) --digits;
  const bool last_is_number =
      dash != std::string::npos && dash + 1 < name.size() && name.size() - dash < 6 &&
      std::all_of(name.begin() + static_cast<std::ptrdiff_t>(dash) + 1, name.end(),
                  [](unsigned char c) { return std::isdigit(c); });
  if (!last_is_number || digits == dash || dash - digits > 4) return {name};
  std::vector<std::string> names;
  const int last = std::stoi(name.substr(dash + 1));
  for (int i = std::stoi(name.substr(digits, dash - digits)); i <= last; ++i) {
    names.push_back(StrCat(name.substr(0, digits), i));
  }
  return names;
}

std::string DeviceName(int i) { return StrCat("gpu", i); }

}  // namespace

Routes::Routes(const Machine& machine) : machine_(machine) {
  for (int node = 0; node < machine.nodes; ++node) {
    for (int d = 0; d < machine.devices; ++d) devices_.insert(Part(node, DeviceName(d)));
    for (const std::string& name : machine.host_memory) Part(node, name);
    for (const LinkSpec& link : machine.links) {
      const int b = Part(node, link.between[1]);
      for (const std::string& name : Expand(link.between[0])) {
        const std::string where =
            machine.nodes > 1 ? StrCat("node", node, " ", link.name) : link.name;
        Join(Part(node, name), b, where, link);
        edges_[edges_.size() - 2].name = StrCat(where, " ", name, " > ", link.between[1]);
        edges_[edges_.size() - 1].name = StrCat(where, " ", link.between[1], " > ", name);
      }
    }
  }
}

int Routes::Part(int node, const std::string& name) {
  const auto& network = machine_.network;
  if (std::find(network.begin(), network.end(), name) != network.end()) node = 0;
  const auto [part, is_new] =
      parts_.emplace(std::make_pair(node, name), static_cast<int>(leaving_.size()));
  if (is_new) leaving_.emplace_back();
  return part->second;
}

void Routes::Join(int a, int b, const std::string& label, const LinkSpec& link) {
  for (const auto& [from, to] : {std::pair<int, int>{a, b}, {b, a}}) {
    leaving_[static_cast<size_t>(from)].push_back(static_cast<int>(edges_.size()));
    edges_.push_back({label, from, to, link.gb_per_second, link.latency_us * 1e3});
  }
}

// Dijkstra over nanoseconds a byte; of equal ways the one with fewer edges, then the first found.
// Devices pass nothing on.
std::vector<int> Routes::Shortest(int from, int to) const {
  struct Best {
    double cost = std::numeric_limits<double>::infinity();
    int edge = -1;
  };
  std::vector<Best> best(leaving_.size());
  using Entry = std::pair<double, int>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  best[static_cast<size_t>(from)].cost = 0;
  open.push({0, from});
  while (!open.empty()) {
    const auto [cost, part] = open.top();
    open.pop();
    if (cost > best[static_cast<size_t>(part)].cost) continue;
    if (part != from && devices_.count(part) > 0) continue;
    for (const int e : leaving_[static_cast<size_t>(part)]) {
      const Edge& edge = edges_[static_cast<size_t>(e)];
      Best& next = best[static_cast<size_t>(edge.to)];
      const double through = cost + 1 / edge.bytes_per_ns + 1e-9;
      if (through >= next.cost) continue;
      next = {through, e};
      open.push({through, edge.to});
    }
  }
  std::vector<int> way;
  for (int at = to; at != from;) {
    const int e = best[static_cast<size_t>(at)].edge;
    if (e < 0) return {};
    way.push_back(e);
    at = edges_[static_cast<size_t>(e)].from;
  }
  std::reverse(way.begin(), way.end());
  return way;
}

Route Routes::Measure(const std::vector<int>& way) const {
  Route route;
  route.edges = way;
  route.bytes_per_ns = std::numeric_limits<double>::infinity();
  for (const int e : way) {
    const Edge& edge = edges_[static_cast<size_t>(e)];
    route.latency_ns += edge.latency_ns;
    route.bytes_per_ns = std::min(route.bytes_per_ns, edge.bytes_per_ns);
  }
  return route;
}

int Routes::HostOf(int device) const {
  const int node = machine_.node_of(device);
  const int part = parts_.at({node, DeviceName(device % static_cast<int>(machine_.devices))});
  int nearest = -1;
  size_t least = std::numeric_limits<size_t>::max();
  for (const std::string& name : machine_.host_memory) {
    const int host = parts_.at({node, name});
    const size_t hops = Shortest(part, host).size();
    if (hops > 0 && hops < least) {
      least = hops;
      nearest = host;
    }
  }
  return nearest;
}

Route Routes::BetweenDevices(int from, int to) const {
  const int n = static_cast<int>(machine_.devices);
  return Measure(Shortest(parts_.at({machine_.node_of(from), DeviceName(from % n)}),
                          parts_.at({machine_.node_of(to), DeviceName(to % n)})));
}

Route Routes::FromHost(int device) const {
  const int n = static_cast<int>(machine_.devices);
  return Measure(
      Shortest(HostOf(device), parts_.at({machine_.node_of(device), DeviceName(device % n)})));
}

Route Routes::ToHost(int device) const {
  const int n = static_cast<int>(machine_.devices);
  return Measure(
      Shortest(parts_.at({machine_.node_of(device), DeviceName(device % n)}), HostOf(device)));
}

std::string RoutesMistake(const Machine& machine) {
  for (const LinkSpec& link : machine.links) {
    if (link.between.size() != 2) return "each must be between two parts";
  }
  if (machine.host_memory.empty()) return "nothing says which part holds the host's memory";
  const Routes routes(machine);
  for (int d = 0; d < machine.total_devices(); ++d) {
    const int node = machine.node_of(d), local = d % static_cast<int>(machine.devices);
    const std::string name =
        StrCat(machine.nodes > 1 ? StrCat("node ", node, ", ") : "", DeviceName(local));
    if (routes.HostOf(d) < 0) return StrCat("no way from ", name, " to host_memory");
    if (d > 0 && routes.BetweenDevices(0, d).edges.empty()) {
      return StrCat("no way from gpu0 to ", name);
    }
  }
  return "";
}

}  // namespace mariana
