#include "common/train/train_plan.h"

#include <cstdio>
#include <vector>

#include "common/comm/link_speed.h"

namespace mariana {

void PrintDevices(const std::vector<std::unique_ptr<Device>>& devices, const Ranks& ranks) {
  if (ranks.size() > 1) {
    std::printf("ranks: %d on %d machine%s\n", ranks.size(), ranks.machines(),
                ranks.machines() == 1 ? "" : "s");
  }
  std::printf("devices: %zu x %s%s\n\n", devices.size(), devices[0]->info().name.c_str(),
              ranks.size() > 1 ? " on each rank" : "");
}

void PrintLayers(const NetPlan& net, int workers) {
  std::printf("%-28s %-22s %-14s %12s %12s %12s\n", "layer", "type", "output", "parameters",
              "MFLOP", "memory MB");
  double parameters = 0, flops = 0, bytes = 0;
  for (const OpInfo& op : net.ops) {
    std::printf("%-28s %-22s %-14s %12lld %12.3f %12.2f\n", op.name.c_str(), op.type.c_str(),
                op.output.ToString().c_str(), static_cast<long long>(op.parameters), op.flops / 1e6,
                static_cast<double>(op.activation_bytes) / 1e6);
    parameters += static_cast<double>(op.parameters);
    flops += op.flops;
    bytes += static_cast<double>(op.activation_bytes);
  }
  std::printf("%-28s %-22s %-14s %12.0f %12.3f %12.2f\n", "total", "", "", parameters, flops / 1e6,
              bytes / 1e6);
  std::printf(
      "(MFLOP: forward, one sample; a training step needs about 3 times that. Memory: "
      "activations of one worker, which share memory in part.)\n"
      "placement: every layer on each of %d worker%s\n",
      workers, workers == 1 ? "" : "s");
}

void PrintExchange(const NetPlan& net, const Wiring& wiring, const std::string& why,
                   const ParallelSpec& parallel, World* world, const OptimizerSpec& optimizer) {
  const int n = wiring.workers;
  const auto mega = [](int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  const int64_t arena = net.arena_elements * int64_t{sizeof(float)};
  std::printf(
      "memory of a worker: values %.1f MB, gradients %.1f MB, optimizer state %.1f MB, activations "
      "%.1f MB\n",
      mega(arena), mega(arena), mega(arena * OptimizerSlots(optimizer) / n),
      mega(net.activation_bytes));
  std::printf("topology: %s\n", why.c_str());
  if (n > 1) {
    std::string buckets;
    BucketBytes(parallel.bucket_bytes, arena, n, world, &buckets);
    std::printf("buckets: %s; wire: %s\n", buckets.c_str(), Name(parallel.wire));
  }
  const std::vector<Range> whole{{0, net.arena_elements}};
  for (int from = 0; from < n; ++from) {
    for (int to = 0; to < n; ++to) {
      const LinkBytes bytes =
          ExpectedTraffic(wiring, whole, from, to, parallel.wire, parallel.wire);
      if (bytes.collect + bytes.distribute == 0) continue;
      std::printf("  worker %d -> %d: %.1f MB collect + %.1f MB distribute a step\n", from, to,
                  mega(bytes.collect), mega(bytes.distribute));
    }
  }
}

}  // namespace mariana
