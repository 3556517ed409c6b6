// DataParallel on emulated machines, and plans made of such runs.
#include "common/train/emulation.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/train/plan.h"

namespace mariana {
namespace {

// n devices of 1 TFLOP/s and 1 TB/s on one switch, `gigabytes` a second each way.
Machine TestMachine(int n, double gigabytes) {
  Machine m;
  m.name = "test";
  m.devices = n;
  m.device.name = "device";
  m.device.memory_bytes = 400000000;
  m.device.memory_gb_per_second = 1000;
  m.device.fp32.tflops = 1;
  m.device.bf16.tflops = 2;
  m.host_memory = {"host"};
  m.links = {{"slot", {"gpu0-" + std::to_string(n - 1), "switch"}, gigabytes, 2},
             {"root", {"switch", "host"}, 1000, 0}};
  m.device_price = 1000;
  m.node_price = 3000;
  return m;
}

// 8 layers of 1000 x 1000: 6 MFLOP a layer and sample, 32 MB of weights.
struct Job {
  Job() {
    LoadConfigText(
        "net:\n  layers: [{type: linear, units: 1000, activation: sigmoid, repeat: 7}, "
        "{type: linear, units: 0}]\n",
        "test.yaml", ".", {}, [this](Fields* f) { f->Section("net", &net, ""); });
    workers.net = &net;
    workers.input = Shape{1000};
    workers.outputs = 1000;
    workers.bucket_bytes = 4 << 20;
    workers.chunk_elements = 1 << 14;
  }
  Emulation Run(const Machine& machine, int devices, int64_t batch, bool trace = false) const {
    EmulationOptions options;
    options.machine = &machine;
    options.devices = devices;
    options.workers = workers;
    options.workers.batch_size = batch;
    options.trace = trace;
    return Emulate(options);
  }
  NetSpec net;
  DataParallelOptions workers;
};

TEST_CASE("computing alone takes the time of its arithmetic, within 3 %") {
  const Machine machine = TestMachine(1, 10);
  const Emulation e = Job().Run(machine, 1, 4000);
  const double flops = 4000 * (8 * 6e6 - 2e6);  // the first layer's input needs no gradient
  CHECK(e.step_seconds / (flops / 1e12) == Approx(1.015).margin(0.015));
  CHECK(e.exposed_seconds() < 0.001 * e.step_seconds);
  CHECK(e.memory_bytes > 3 * 32000000 + 8 * 16000000);  // arenas and momentum; activations
}

TEST_CASE("an exchange is hidden behind computing, or stands where it is not overlapped") {
  Job job;
  job.workers.topology = Topology::kRing;
  const Machine machine = TestMachine(4, 10);
  const Emulation one = job.Run(machine, 1, 1000);
  const double exchange = 2 * 3.0 / 4 * 32.03e6 / 10e9;  // of both phases
  const Emulation with = job.Run(machine, 4, 4000);
  job.workers.overlap = false;
  const Emulation without = job.Run(machine, 4, 4000);
  CHECK((without.step_seconds - one.step_seconds) / exchange == Approx(1).margin(0.06));
  CHECK(with.step_seconds - one.step_seconds < 0.4 * exchange);
  // Every device sends and receives 2 (n - 1) / n of all bytes.
  REQUIRE(!with.links.empty());
  CHECK(with.links[0].bytes == Approx(2 * 3.0 / 4 * 32.03e6).epsilon(0.01));
}

TEST_CASE("no order of copies beats the bound, and ours comes near it where links are the limit") {
  Job job;
  for (const Topology topology : {Topology::kLinear, Topology::kRing}) {
    job.workers.topology = topology;
    for (const int64_t batch : {200, 1000, 4000}) {
      CAPTURE(Name(topology), batch);
      const Machine machine = TestMachine(4, 10);
      EmulationOptions options;
      options.machine = &machine;
      options.workers = job.workers;
      const Emulation e = job.Run(machine, 4, batch);
      const double bound = StepBound(options, e);
      CHECK(e.step_seconds >= bound);
      CHECK(e.step_seconds < 1.15 * bound);
    }
  }
}

TEST_CASE("an emulation gives the same nanoseconds and the same trace every time") {
  Job job;
  job.workers.topology = Topology::kLinear;
  const Machine machine = TestMachine(3, 3);
  const Emulation a = job.Run(machine, 3, 600, true), b = job.Run(machine, 3, 600, true);
  CHECK(a.step_seconds == b.step_seconds);
  CHECK(a.memory_bytes == b.memory_bytes);
  CHECK(a.chrome_trace == b.chrome_trace);
  const auto trace = nlohmann::json::parse(a.chrome_trace);
  CHECK(trace.at("traceEvents").size() > 100);
}

TEST_CASE("nodes are emulated in one process, and two levels spare the network") {
  Machine machine = TestMachine(2, 100);
  machine.nodes = 2;
  machine.network = {"network"};
  machine.links.push_back({"port", {"switch", "network"}, 2, 2});
  Job job;
  const auto network_bytes = [&](Topology topology) {
    job.workers.topology = topology;
    double most = 0;
    for (const LinkUse& link : job.Run(machine, 4, 400).links) {
      if (link.name.find("port") != std::string::npos) most = std::max(most, link.bytes);
    }
    return most;
  };
  // Between two nodes all must cross once each way.
  CHECK(network_bytes(Topology::kTwoLevel) == Approx(32.03e6).epsilon(0.01));
  CHECK(network_bytes(Topology::kRing) == Approx(1.5 * 32.03e6).epsilon(0.01));
}

TEST_CASE("a block of steps is emulated whole, and exchanges once") {
  Job job;
  job.workers.topology = Topology::kRing;
  const Machine machine = TestMachine(4, 10);
  const double every_step = job.Run(machine, 4, 400).links.at(0).bytes;
  job.workers.block.steps = 5;
  const Emulation e = job.Run(machine, 4, 400);
  CHECK(e.links.at(0).bytes == Approx(every_step / 5).epsilon(0.01));
}

TEST_CASE("two devices that share a model: what travels, its time, and their memory") {
  const Machine machine = TestMachine(2, 10);
  Job job;
  const Emulation one = job.Run(machine, 1, 2000);
  job.workers.split.workers = 2;
  const Emulation two = job.Run(machine, 2, 2000);
  // Behind each layer but the first, which is split by columns, half of the sums by rows, and of
  // their gradients; of the outputs, all sums.
  const double bytes = 7 * 2 * 2000 * 500 * 4;
  REQUIRE(!two.links.empty());
  CHECK(two.links[0].bytes == Approx(bytes).epsilon(0.001));
  const double least = one.step_seconds / 2 + bytes / 10e9;
  CHECK(two.step_seconds > least);
  CHECK(two.step_seconds < 1.15 * least);
  CHECK(static_cast<double>(two.memory_bytes) < 0.7 * static_cast<double>(one.memory_bytes));
}

TEST_CASE("more workers than devices, and a type that the device lacks, are refused") {
  const Job job;
  Machine machine = TestMachine(2, 10);
  CHECK_THROWS_WITH(job.Run(machine, 3, 60), Catch::Contains("test has 2 devices"));
  machine.device.bf16.tflops = 0;
  Job bf16;
  bf16.workers.compute = Dtype::kBF16;
  CHECK_THROWS_WITH(bf16.Run(machine, 1, 60), Catch::Contains("no bf16"));
}

TEST_CASE("a plan tries every choice, says what does not fit and picks the best") {
  const Job job;
  PlanSpec spec;
  spec.devices = {1, 3};
  spec.batch_sizes = {300, 12000};
  DataParallelOptions workers = job.workers;
  workers.batch_size = 300;
  int told = 0;
  const PlanTable plan =
      Plan(TestMachine(3, 10), spec, workers, "samples", [&told](const PlanRow&) { ++told; });
  REQUIRE(plan.rows.size() == 2 + 2 * 4);  // alone; with others two topologies, two wires
  CHECK(told == 10);
  CHECK_THAT(plan.rows[1].does_not_fit, Catch::Contains("out of memory"));
  CHECK(plan.rows[0].efficiency == Approx(1));
  const PlanRow& best = plan.rows[static_cast<size_t>(plan.fastest)];
  CHECK(best.devices == 3);
  CHECK(best.batch_size == 12000);
  CHECK(best.efficiency > 0.9);
  CHECK(best.per_dollar == Approx(best.samples_per_second / 6000));
  CHECK(plan.most_per_watt == -1);  // power is not known
  const auto json = nlohmann::json::parse(PlanJson(plan));
  CHECK(json["rows"][1]["fits"] == false);
  CHECK(json["rows"][static_cast<size_t>(plan.fastest)]["samples_per_second"] ==
        best.samples_per_second);
  CHECK_THAT(FormatChoices(plan), Catch::Contains("parallel.devices=3 train.batch_size=12000"));
}

}  // namespace
}  // namespace mariana
