// Machine files, and the ways that data takes over a machine's links.
#include "common/machine/machine.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>

#include "common/base/error.h"
#include "common/machine/routes.h"

namespace mariana {
namespace {

constexpr char kMachines[] = "configs/machines/";

std::vector<std::string> NamesOf(const Routes& routes, const Route& route) {
  std::vector<std::string> names;
  for (const int e : route.edges) names.push_back(routes.edges()[static_cast<size_t>(e)].name);
  return names;
}

std::string MistakesOf(const std::string& yaml) {
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/machine.yaml";
  std::ofstream(path) << yaml;
  try {
    ReadMachine(path);
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kUsage);
    return e.message();
  }
  return "";
}

constexpr char kDevice[] =
    "device: {name: d, memory: 1GB, memory_gb_per_second: 100, fp32: {tflops: 1}}\n";

TEST_CASE("every machine file of configs/machines can be read and says what it costs") {
  for (const char* name :
       {"k20x6", "k20cx4", "a100x8", "a100x8_4nodes", "h100x8", "h100x8_4nodes", "rtx4090x8"}) {
    CAPTURE(name);
    const Machine machine = ReadMachine(std::string(kMachines) + name + ".yaml");
    CHECK(machine.PriceOf(machine.total_devices()) > machine.PriceOf(1));
    CHECK(machine.WattsOf(machine.total_devices()) > machine.WattsOf(1));
    const double large = machine.device.fp32.linear.At(1e12);
    CHECK(large > machine.device.fp32.linear.At(1e6));
    CHECK(large < 1);
  }
}

TEST_CASE("data goes over NVLink within a node and over one network port between nodes") {
  const Machine machine = ReadMachine(std::string(kMachines) + "h100x8_4nodes.yaml");
  REQUIRE(machine.total_devices() == 32);
  const Routes routes(machine);
  CHECK(NamesOf(routes, routes.BetweenDevices(8, 9)) ==
        std::vector<std::string>{"node1 nvlink4 gpu0 > nvswitch", "node1 nvlink4 nvswitch > gpu1"});
  const Route between = routes.BetweenDevices(0, 31);
  CHECK(between.bytes_per_ns == 11.5);
  const std::vector<std::string> names = NamesOf(routes, between);
  CHECK(names.front() == "node0 pcie5 gpu0 > socket0");
  CHECK(names.back() == "node3 pcie5 socket1 > gpu7");
  CHECK(std::count(names.begin(), names.end(), "node0 ib nic > switch") == 1);
  CHECK(NamesOf(routes, routes.FromHost(31)) ==
        std::vector<std::string>{"node3 pcie5 socket1 > gpu7"});
}

TEST_CASE("latencies of a route add up and its slowest link sets the speed") {
  const Machine machine = ReadMachine(std::string(kMachines) + "k20x6.yaml");
  const Routes routes(machine);
  const Route near = routes.BetweenDevices(0, 1), far = routes.BetweenDevices(2, 3);
  CHECK(near.edges.size() == 2);
  CHECK(near.latency_ns == 10000);
  CHECK(far.edges.size() == 3);
  CHECK(far.latency_ns == 20000);
  CHECK(far.bytes_per_ns == 6);
}

TEST_CASE("efficiency is a straight line over the logarithm of the size, flat beyond the ends") {
  EfficiencySpec e;
  CHECK(e.At(1e9) == 1);
  e.gflop = {0.1, 10};
  e.share = {0.2, 0.6};
  CHECK(e.At(1e6) == Approx(0.2));
  CHECK(e.At(1e9) == Approx(0.4));
  CHECK(e.At(1e12) == Approx(0.6));
}

TEST_CASE("all mistakes of a machine file are told at once, each with its place") {
  const std::string mistakes = MistakesOf(
      "name: m\ndevices: 0\ndevice: {name: d, memory: 1GB, memory_gb_per_second: -1,\n"
      "         fp32: {tflops: 1, linear: {gflop: [1, 2], share: [0.5]}}}\n"
      "host_memory: [cpu]\nlink: []\n");
  CHECK_THAT(mistakes, Catch::Contains("machine.yaml:2:10: devices"));
  CHECK_THAT(mistakes, Catch::Contains("memory_gb_per_second"));
  CHECK_THAT(mistakes, Catch::Contains("one number for each of `gflop`"));
  CHECK_THAT(mistakes, Catch::Contains("did you mean \"links\"?"));
}

TEST_CASE("a device that cannot be reached is named") {
  const std::string head = std::string("name: m\ndevices: 2\nhost_memory: [cpu]\n") + kDevice;
  CHECK_THAT(
      MistakesOf(head + "links:\n  - {name: pcie, between: [gpu0, cpu], gb_per_second: 1}\n"),
      Catch::Contains("no way from gpu1"));
  CHECK(MistakesOf(head + "links:\n  - {name: pcie, between: [gpu0-1, cpu], gb_per_second: 1}\n")
            .empty());
}

}  // namespace
}  // namespace mariana
