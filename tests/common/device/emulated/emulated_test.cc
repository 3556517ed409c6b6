// The emulated device and its links, beside the arithmetic that they stand for.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/comm/emulated/emulated_link.h"
#include "common/device/emulated/emulated_device.h"

namespace mariana {
namespace {

// n devices on one switch, 10 GB/s each way, no latency; 1 TFLOP/s, 100 GB/s.
Machine TestMachine(int n) {
  Machine m;
  m.name = "test";
  m.devices = n;
  m.device.name = "device";
  m.device.memory_bytes = 1000000;
  m.device.memory_gb_per_second = 100;
  m.device.fp32.tflops = 1;
  m.host_memory = {"host"};
  m.links = {{"slot", {"gpu0-" + std::to_string(n - 1), "switch"}, 10, 0},
             {"root", {"switch", "host"}, 10, 0}};
  return m;
}

// A machine that runs, with a thread registered.
struct Rig {
  explicit Rig(Machine m) : machine(std::move(m)) {
    for (int d = 0; d < machine.total_devices(); ++d) {
      devices.push_back(EmulatedDevice::Make(d, machine, &fabric));
    }
  }
  int64_t TimeOf(const std::function<void()>& f) const {
    const int64_t begin = clock->NowNs();
    f();
    return clock->NowNs() - begin;
  }
  const Machine machine;
  const std::unique_ptr<Clock> clock = Clock::MakeVirtual();
  const ClockThread here{clock.get(), "test"};
  Timeline timeline;
  Fabric fabric{machine, clock.get(), &timeline};
  std::vector<std::unique_ptr<EmulatedDevice>> devices;
};

TEST_CASE("copies over one link share it fairly and go at full speed elsewhere") {
  Rig rig(TestMachine(4));
  const Routes& routes = rig.fabric.routes();
  const Route a = routes.BetweenDevices(0, 1), b = routes.BetweenDevices(2, 1),
              c = routes.BetweenDevices(2, 3);
  std::vector<std::pair<char, int64_t>> ends;
  const auto copy = [&](char name, const Route& route, int64_t bytes, int64_t at) {
    rig.fabric.Copy(route, bytes, at, std::string(1, name),
                    [&, name] { ends.emplace_back(name, rig.clock->NowNs()); });
  };
  copy('a', a, 10000, 0);  // into device 1, with b: 5 bytes a ns each
  copy('b', b, 10000, 0);  // out of device 2, with c
  copy('c', c, 10000, 0);  // takes what b leaves of it: 5
  rig.clock->SleepFor(10000);
  CHECK(ends == std::vector<std::pair<char, int64_t>>{{'a', 2000}, {'b', 2000}, {'c', 2000}});
  ends.clear();
  copy('a', a, 30000, 10000);  // alone for 1 us, then half for 2 us, then alone
  copy('b', b, 10000, 11000);
  rig.clock->SleepFor(10000);
  CHECK(ends == std::vector<std::pair<char, int64_t>>{{'b', 13000}, {'a', 14000}});
  CHECK(rig.fabric.EdgeBytes(a.edges[1]) == 60000);
}

TEST_CASE("a kernel takes the longer of its arithmetic and its memory") {
  Rig rig(TestMachine(1));
  Device* d = rig.devices[0].get();
  CHECK(rig.TimeOf([&] { d->Fill(nullptr, 0, 100000); }) == 4000);  // 400 kB at 100 bytes a ns
  LinearSpec spec;
  spec.in = spec.out = 1000;
  spec.bias = false;
  const auto linear = d->MakeLinear(spec);
  const auto forward = [&](int64_t rows) {
    linear->Forward(nullptr, nullptr, nullptr, nullptr, nullptr, rows);
  };
  CHECK(rig.TimeOf([&] { forward(1000); }) == 2000000);  // 2 GFLOP
  CHECK(rig.TimeOf([&] { forward(1); }) == 40080);       // 4 MB of weights
  CHECK(rig.TimeOf([&] {
    linear->Backward(nullptr, nullptr, nullptr, nullptr, nullptr, d, nullptr, nullptr, 1000, false);
  }) == 4000000);
}

TEST_CASE("kernels shorter than their launch go at the host's pace, after a wait from its end") {
  Machine m = TestMachine(1);
  m.device.launch_us = 10;
  m.device.kernel_us = 1;
  m.device.sync_us = 5;
  Rig rig(m);
  Device* d = rig.devices[0].get();
  const auto kernels = [&](int n) {
    for (int i = 0; i < n; ++i) d->Fill(nullptr, 0, 100);
  };
  CHECK(rig.TimeOf([&] { kernels(10); }) == 10 * 10000 + 1004);
  CHECK(rig.TimeOf([&] { d->Fill(nullptr, 0, 100000000); }) == 10000 - 1004 + 4001000);
  CHECK(rig.TimeOf([&] { kernels(10); }) == 10 * 1004);  // queued meanwhile
  d->Synchronize();
  CHECK(rig.TimeOf([&] { kernels(1); }) == 5000 + 10000 + 1004);
}

TEST_CASE("work of the exchange takes time from kernels where cores do both") {
  for (const bool shared : {false, true}) {
    Machine m = TestMachine(1);
    m.device.exchange_computes = shared;
    Rig rig(m);
    EmulatedDevice* d = rig.devices[0].get();
    const int64_t begin = rig.clock->NowNs();
    int64_t added = 0;
    rig.fabric.At(begin + 1000,
                  [&] { d->ExchangeKernel("add", 100000, [&] { added = rig.clock->NowNs(); }); });
    CHECK(rig.TimeOf([&] { d->Fill(nullptr, 0, 100000); }) == (shared ? 5000 : 4000));
    CHECK(added == begin + 2000);
  }
}

TEST_CASE("a device out of memory says how much was asked for and how much is free") {
  Rig rig(TestMachine(1));
  EmulatedDevice* d = rig.devices[0].get();
  void* a = d->Allocate(600000);
  CHECK(a != nullptr);
  try {
    d->Allocate(500000);
    FAIL("500 kB of 400 kB");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kIo);
    CHECK(e.message() == "device: out of memory: 0.0005 GB asked for, 0.0004 GB of 0.001 GB free");
  }
  d->Free(a);
  CHECK(d->Allocate(1000000) != a);
  CHECK(d->peak_bytes() == 1000000);
}

// All buckets collected, then all distributed. Seconds of the two phases.
double ExchangeAlone(const Machine& machine, Topology topology, int64_t elements) {
  Rig rig(machine);
  const int n = machine.total_devices();
  ExchangeOptions options;
  options.topology = topology;
  options.workers = n;
  options.buckets = {{0, elements}};
  options.chunk_elements = 1 << 14;
  options.clock = rig.clock.get();
  options.make_link = [&rig](const LinkEnds& ends) -> std::unique_ptr<Link> {
    return std::make_unique<EmulatedLink>(ends, rig.devices[static_cast<size_t>(ends.from)].get(),
                                          rig.devices[static_cast<size_t>(ends.to)].get(),
                                          Wire::kF32, Wire::kF32);
  };
  const auto group = ExchangeGroup::Make(options);
  const int64_t begin = rig.clock->NowNs();
  std::vector<std::unique_ptr<ClockedThread>> threads;
  for (int w = 0; w < n; ++w) {
    Exchange* const e =
        group->Join(w, rig.devices[static_cast<size_t>(w)].get(), nullptr, nullptr, {});
    threads.push_back(
        std::make_unique<ClockedThread>(rig.clock.get(), "worker " + std::to_string(w), [e] {
          e->Collect(0);
          e->FinishCollect();
          e->Commit({});
          e->Distribute(0);
          e->WaitValues(0);
        }));
  }
  for (auto& thread : threads) thread->Join();
  return static_cast<double>(rig.clock->NowNs() - begin) * 1e-9;
}

TEST_CASE("an exchange alone takes the time of its arithmetic, within 3 %") {
  constexpr int64_t kElements = 24 << 20;
  const double whole = 4.0 * kElements / 10e9;  // seconds that all bytes need over one link
  for (const int n : {2, 4, 6}) {
    CAPTURE(n);
    Machine machine = TestMachine(n);
    machine.device.memory_gb_per_second = 1000;
    // Phases apart: a device takes in what both neighbours have, (n + 1) / n of all in each phase;
    // with two devices there is one neighbour.
    const double linear = n == 2 ? 1 : 2.0 * (n + 1) / n, ring = 2.0 * (n - 1) / n;
    CHECK(ExchangeAlone(machine, Topology::kLinear, kElements) / (linear * whole) ==
          Approx(1.015).margin(0.015));
    CHECK(ExchangeAlone(machine, Topology::kRing, kElements) / (ring * whole) ==
          Approx(1.015).margin(0.015));
  }
}

TEST_CASE("a trace is JSON whose events do not overlap within a row") {
  Rig rig(TestMachine(2));
  rig.timeline.Record(true);
  const Route route = rig.fabric.routes().BetweenDevices(0, 1);
  for (int i = 0; i < 3; ++i) {
    rig.fabric.Copy(route, 1001 * (i + 1), 5 * i, "copy \"" + std::to_string(i) + "\"", [] {});
  }
  rig.devices[0]->Fill(nullptr, 0, 100);
  rig.clock->SleepFor(10000);
  rig.timeline.Record(false);
  rig.devices[0]->Fill(nullptr, 0, 100);
  const auto trace = nlohmann::json::parse(rig.timeline.ChromeTrace());
  std::map<std::pair<int, int>, double> ends;
  int events = 0;
  for (const auto& e : trace.at("traceEvents")) {
    if (e.at("ph") != "X") continue;
    ++events;
    double& end = ends[{e.at("pid"), e.at("tid")}];
    CHECK(e.at("ts").get<double>() >= end);
    end = e.at("ts").get<double>() + e.at("dur").get<double>();
  }
  CHECK(events == 7);  // three copies over two edges each, one kernel
}

}  // namespace
}  // namespace mariana
