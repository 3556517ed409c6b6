// GPUs of machines that are folders here, as /sys shows them.
#include "common/device/plugin/gpu_order.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace mariana {
namespace {

namespace fs = std::filesystem;

class Machine {
 public:
  Machine() {
    char name[] = "/tmp/gpus_XXXXXX";
    root_ = mkdtemp(name);
    fs::create_directories(bus());
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine() { fs::remove_all(root_); }
  fs::path bus() const { return root_ / "bus"; }
  // way: "pci0000:3a/0000:3a:00.0/...": its last part is the GPU's address.
  void Add(const std::string& way, int node) {
    const fs::path folder = root_ / "devices" / way;
    fs::create_directories(folder);
    std::ofstream(folder / "numa_node") << node << "\n";
    fs::create_symlink(folder, bus() / folder.filename());
    GpuPlace place;
    place.bus = folder.filename();
    for (char& c : place.bus) c = static_cast<char>(std::toupper(c));  // as the driver says it
    gpus.push_back(place);
  }
  std::vector<std::vector<GpuLink>> Links() const { return LinksOfGpus(gpus, bus()); }

  std::vector<GpuPlace> gpus;

 private:
  fs::path root_;
};

// Two sockets with two roots each; the numbers go back and forth between them.
struct TwoSockets : Machine {
  TwoSockets() {
    Add("pci0000:16/0000:16:02.0/0000:17:00.0", 0);
    Add("pci0000:b0/0000:b0:02.0/0000:b1:00.0/0000:b2:08.0/0000:b3:00.0", 1);
    Add("pci0000:3a/0000:3a:02.0/0000:3b:00.0", 0);
    Add("pci0000:b0/0000:b0:02.0/0000:b1:00.0/0000:b2:09.0/0000:b4:00.0", 1);
    Add("pci0000:3a/0000:3a:03.0/0000:3d:00.0", 0);
  }
};

TEST_CASE("links between GPUs are what the PCI tree says") {
  const TwoSockets m;
  const auto links = m.Links();
  CHECK(links[1][3] == GpuLink::kSwitch);
  CHECK(links[2][4] == GpuLink::kRoot);
  CHECK(links[0][2] == GpuLink::kSocket);
  CHECK(links[0][1] == GpuLink::kBetweenSockets);
  for (size_t a = 0; a < links.size(); ++a) {
    for (size_t b = 0; b < links.size(); ++b) CHECK(links[a][b] == links[b][a]);
  }
  TwoSockets lost;
  lost.gpus[0].bus = "0000:99:00.0";
  CHECK(lost.Links()[0][2] == GpuLink::kUnknown);
  lost.gpus[0].bus = "00000000:17:00.0";  // a long domain
  CHECK(lost.Links()[0][2] == GpuLink::kSocket);
  CHECK(std::string(Name(GpuLink::kBetweenSockets)) == "between sockets");
}

TEST_CASE("the chain passes between sockets once") {
  const TwoSockets m;
  const std::vector<int> chain = ChainOfGpus(m.Links());
  CHECK(chain == std::vector<int>{0, 2, 4, 1, 3});
}

TEST_CASE("NVLink goes before the PCI tree") {
  TwoSockets m;
  for (GpuPlace& gpu : m.gpus) gpu.nvlink.assign(m.gpus.size(), false);
  const auto join = [&](size_t a, size_t b) { m.gpus[a].nvlink[b] = m.gpus[b].nvlink[a] = true; };
  join(0, 1);
  join(2, 3);
  const std::vector<int> chain = ChainOfGpus(m.Links());
  CHECK(chain == std::vector<int>{0, 1, 3, 2, 4});
}

TEST_CASE("equal links leave the order of numbers, and many GPUs are all in the chain") {
  CHECK(ChainOfGpus({}).empty());
  CHECK(ChainOfGpus({{GpuLink::kNvlink}}) == std::vector<int>{0});
  for (const size_t n : {8, 12, 16}) {
    std::vector<std::vector<GpuLink>> links(n, std::vector<GpuLink>(n, GpuLink::kNvlink));
    std::vector<int> numbers;
    for (size_t i = 0; i < n; ++i) numbers.push_back(static_cast<int>(i));
    CHECK(ChainOfGpus(links) == numbers);
    for (size_t a = 0; a < n; ++a) {
      for (size_t b = 0; b < n; ++b) {
        if (a % 2 != b % 2) links[a][b] = GpuLink::kBetweenSockets;
      }
    }
    const std::vector<int> chain = ChainOfGpus(links);
    CHECK(chain.size() == n);
    int between = 0;
    for (size_t i = 1; i < n; ++i) between += chain[i - 1] % 2 != chain[i] % 2 ? 1 : 0;
    CHECK(between == 1);
  }
}

}  // namespace
}  // namespace mariana
