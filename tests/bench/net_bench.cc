// net_bench BATCH SECONDS: times nets of click models on one thread: forward, loss, and backward to
// the input (no data, no update), in fp32 and, where the CPU computes in it, bf16. Prints for each
// net the milliseconds of a step (median, CPU time), its GFLOP/s, and the same for each operation.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/nn/net.h"

namespace mariana {
namespace {

struct Case {
  const char* name;
  int64_t inputs;
  const char* layers;
};

const Case kCases[] = {
    {"mlp 429-400-400-400-1", 429,
     "[{type: linear, units: 400, activation: relu, repeat: 3}, {type: linear, units: 1}]"},
    {"dots of 27 x 16", 27 * 16, "[{type: dots, size: 16}, {type: linear, units: 1}]"},
    {"cross, 3 of 429", 429, "[{type: cross, layers: 3}, {type: linear, units: 1}]"},
    {"dlrm 13-512-256-16, 26 x 16, 367-512-256-1", 429,
     "[{type: branch, branches: [{layers: [{type: slice, begin: 416, size: 13}, {type: linear, "
     "units: 512, activation: relu}, {type: linear, units: 256, activation: relu}, {type: linear, "
     "units: 16, activation: relu}]}, {layers: [{type: slice, size: 416}]}]}, {type: branch, "
     "branches: [{layers: [{type: slice, size: 16}]}, {layers: [{type: dots, size: 16}]}]}, {type: "
     "linear, units: 512, activation: relu}, {type: linear, units: 256, activation: relu}, {type: "
     "linear, units: 1}]"},
};

double Cpu() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void Run(Device* device, const Case& c, Dtype compute, int64_t batch, double limit) {
  NetSpec spec;
  LoadConfigText(std::string("loss: logistic\nlayers: ") + c.layers, c.name, ".", {},
                 [&](Fields* f) { spec.Describe(f); });
  NetOptions options;
  options.device = device;
  options.max_rows = batch;
  options.input = Shape{c.inputs};
  options.compute = compute;
  options.input_gradient = true;
  const std::unique_ptr<Net> net = Net::Build(spec, options);
  net->Initialize(1);

  RandomSequence random(1, 0);
  std::vector<float> host(batch * c.inputs), clicks(batch);
  for (float& x : host) x = 2 * random.Uniform() - 1;
  for (float& x : clicks) x = random.Below(4) == 0 ? 1 : 0;
  const Tensor wide(device, Dtype::kF32, {batch, c.inputs}), targets(device, Dtype::kF32, {batch});
  wide.Upload(host.data());
  targets.Upload(clicks.data());
  const Tensor input(device, compute, wide.shape());
  device->Convert(wide.data(), Dtype::kF32, input.data(), compute, wide.elements());

  StepContext step;
  step.rows = step.batch_rows = batch;
  const auto run = [&] {
    const double start = Cpu();
    net->Forward(step, input);
    net->Loss(step, targets);
    net->Backward(step, input);
    return Cpu() - start;
  };
  run();
  std::vector<double> seconds;
  for (const double start = Cpu(); Cpu() - start < limit || seconds.size() < 5;) {
    seconds.push_back(run());
  }
  net->EnableProfile(true);
  const size_t steps = seconds.size();
  for (size_t i = 0; i < steps; ++i) run();
  const auto profile = net->TakeProfile();

  // Backward does twice the forward's work.
  double flops = 0;
  for (const OpInfo& op : net->ops()) flops += 3 * op.flops * static_cast<double>(batch);
  const double median = Median(seconds);
  std::printf("%s, batch %ld, %s: %.3f ms, %.1f GFLOP/s\n", c.name, static_cast<long>(batch),
              Name(compute), 1e3 * median, 1e-9 * flops / median);
  for (size_t i = 0; i < profile.size(); ++i) {
    const OpInfo& op = net->ops()[i];
    const double forward = profile[i].first / static_cast<double>(steps);
    const double backward = profile[i].second / static_cast<double>(steps);
    const double work = 1e-9 * op.flops * static_cast<double>(batch);
    std::printf("  %-22s forward %7.3f ms %6.1f GFLOP/s   backward %7.3f ms %6.1f GFLOP/s\n",
                op.name.c_str(), 1e3 * forward, work / forward, 1e3 * backward,
                2 * work / backward);
  }
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: net_bench BATCH SECONDS\n");
    return 64;
  }
  const std::unique_ptr<Device> device = MakeCpuDevice(0, 1, -1);
  std::printf("%s, bf16 in hardware: %s\n", device->info().name.c_str(),
              device->info().native_bf16 ? "yes" : "no");
  for (const Case& c : kCases) {
    for (const Dtype compute : {Dtype::kF32, Dtype::kBF16}) {
      try {
        Run(device.get(), c, compute, std::atoll(argv[1]), std::atof(argv[2]));
      } catch (const Error& e) {
        std::printf("%s, %s: %s\n", c.name, Name(compute), e.message().c_str());
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
