#include "common/device/plugin/gpu_order.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

namespace mariana {
namespace {

namespace fs = std::filesystem;

// The way from the root complex to a device, "pci0000:3a", "0000:3a:00.0", ..., and its NUMA node.
struct PciPlace {
  std::vector<std::string> way;
  int node = -1;
};

PciPlace FindPlace(const std::string& bus, const fs::path& devices) {
  std::string name = bus;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.size() > 12) name.erase(0, name.size() - 12);  // a domain of eight digits
  PciPlace place;
  std::error_code ignored;
  const fs::path path = fs::canonical(devices / name, ignored);
  for (const fs::path& part : path) {
    if (!place.way.empty() || part.string().rfind("pci", 0) == 0) place.way.push_back(part);
  }
  std::ifstream(path / "numa_node") >> place.node;
  return place;
}

GpuLink LinkBetween(const PciPlace& a, const PciPlace& b) {
  if (a.way.empty() || b.way.empty()) return GpuLink::kUnknown;
  const auto parted = std::mismatch(a.way.begin(), a.way.end(), b.way.begin(), b.way.end()).first;
  const auto common = parted - a.way.begin();
  if (common > 1) return GpuLink::kSwitch;
  if (common == 1) return GpuLink::kRoot;
  return a.node == b.node ? GpuLink::kSocket : GpuLink::kBetweenSockets;
}

using Links = std::vector<std::vector<GpuLink>>;

int CostOf(GpuLink link) {
  constexpr int kCosts[] = {0, 1, 2,
                            4, 8, 8};  // a way between sockets is shared by all that take it
  return kCosts[static_cast<int>(link)];
}

std::vector<int> NearestNext(const Links& links) {
  std::vector<int> chain{0}, left;
  for (size_t i = 1; i < links.size(); ++i) left.push_back(static_cast<int>(i));
  while (!left.empty()) {
    const auto& from = links[static_cast<size_t>(chain.back())];
    const auto nearest = std::min_element(left.begin(), left.end(), [&](int a, int b) {
      return CostOf(from[static_cast<size_t>(a)]) < CostOf(from[static_cast<size_t>(b)]);
    });
    chain.push_back(*nearest);
    left.erase(nearest);
  }
  return chain;
}

// Held and Karp 1962: the cheapest chain that starts at a GPU and goes through a set of others,
// from small sets to large ones.
std::vector<int> BestChain(const Links& links) {
  const size_t n = links.size(), sets = size_t{1} << n;
  constexpr int kNone = std::numeric_limits<int>::max() / 2;
  std::vector<std::vector<int>> cost(sets, std::vector<int>(n, kNone));
  for (size_t i = 0; i < n; ++i) cost[size_t{1} << i][i] = 0;
  const auto through = [&](size_t set, size_t first, size_t next) {
    return cost[set & ~(size_t{1} << first)][next] + CostOf(links[first][next]);
  };
  for (size_t set = 1; set < sets; ++set) {
    for (size_t first = 0; first < n; ++first) {
      if ((set >> first & 1) == 0) continue;
      for (size_t next = 0; next < n; ++next) {
        if (next == first || (set >> next & 1) == 0) continue;
        cost[set][first] = std::min(cost[set][first], through(set, first, next));
      }
    }
  }
  size_t set = sets - 1;
  auto at =
      static_cast<size_t>(std::min_element(cost[set].begin(), cost[set].end()) - cost[set].begin());
  std::vector<int> chain{static_cast<int>(at)};
  while (chain.size() < n) {
    size_t next = 0;
    while (next == at || (set >> next & 1) == 0 || through(set, at, next) != cost[set][at]) ++next;
    set &= ~(size_t{1} << at);
    at = next;
    chain.push_back(static_cast<int>(at));
  }
  return chain;
}

}  // namespace

const char* Name(GpuLink link) {
  constexpr const char* kNames[] = {"NVLink",      "PCIe switch",     "root complex",
                                    "same socket", "between sockets", "unknown"};
  return kNames[static_cast<int>(link)];
}

Links LinksOfGpus(const std::vector<GpuPlace>& gpus, const std::string& devices) {
  std::vector<PciPlace> places;
  for (const GpuPlace& gpu : gpus) places.push_back(FindPlace(gpu.bus, devices));
  Links links(gpus.size(), std::vector<GpuLink>(gpus.size()));
  for (size_t a = 0; a < gpus.size(); ++a) {
    for (size_t b = 0; b < gpus.size(); ++b) {
      const bool nvlink = b < gpus[a].nvlink.size() && gpus[a].nvlink[b];
      links[a][b] = a == b || nvlink ? GpuLink::kNvlink : LinkBetween(places[a], places[b]);
    }
  }
  return links;
}

std::vector<int> ChainOfGpus(const Links& links) {
  constexpr size_t kMostForBest = 12;  // 4,096 sets
  if (links.empty()) return {};
  return links.size() <= kMostForBest ? BestChain(links) : NearestNext(links);
}

}  // namespace mariana
