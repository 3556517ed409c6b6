// gpu_bench [--device=cpu] machine | speech BATCH PRECISION | small BATCH PRECISION |
//           zoo FILE SIDE CLASSES BATCH PRECISION
// One measurement, for scripts/bench/gpu, as one JSON object on one line.
//   machine  matrix products and copies as fast as the GPU goes, and the update kernels beside the
//            copy: what floors are computed from
//   others   training steps as the trainers do them (forward, loss, backward, commit, update) on
//            one device over samples that are there; PRECISION is fp32 (TF32 on a GPU) or bf16
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/device/plugin/plugin.h"
#include "common/train/data_parallel.h"

namespace mariana {
namespace {

using Json = nlohmann::json;

constexpr double kSeconds = 2;  // of each measurement

double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// Seconds of one run(), the median over rounds of several.
template <class F>
double SecondsOf(Device* device, const F& run) {
  Clock* clock = Clock::Real();
  run();
  device->Synchronize();
  std::vector<double> seconds;
  const double start = clock->NowSeconds();
  while (clock->NowSeconds() < start + kSeconds || seconds.size() < 3) {
    constexpr int kRuns = 10;
    const double begin = clock->NowSeconds();
    for (int i = 0; i < kRuns; ++i) run();
    device->Synchronize();
    seconds.push_back((clock->NowSeconds() - begin) / kRuns);
  }
  return Median(seconds);
}

double ProductRate(Device* device, int64_t size, Dtype t) {
  LinearSpec spec;
  spec.max_rows = spec.in = spec.out = size;
  spec.input = spec.output = t;
  spec.bias = false;
  const auto op = device->MakeLinear(spec);
  const Tensor x(device, t, {size, size}), y(device, t, {size, size});
  const Tensor w(device, Dtype::kF32, {op->weight_elements()});
  const Tensor w16(device, Dtype::kBF16, {op->weight_elements()});
  const double seconds = SecondsOf(
      device, [&] { op->Forward(x.data(), w.f32(), w16.bf16(), nullptr, y.data(), size); });
  const double n = static_cast<double>(size);
  return 2 * n * n * n / seconds;
}

Json MeasureMachine(Device* device, bool cpu) {
  const int64_t n = cpu ? int64_t{1} << 22 : int64_t{1} << 27;
  const Tensor a(device, Dtype::kF32, {n}), b(device, Dtype::kF32, {n}),
      c(device, Dtype::kF32, {n});
  const Tensor d(device, Dtype::kF32, {n}), half(device, Dtype::kBF16, {n});
  const double bytes = 4.0 * static_cast<double>(n);
  const double copy = SecondsOf(device, [&] { device->Copy(b.data(), a.data(), a.bytes()); });
  OptimizerStep sgd;
  sgd.learning_rate = 0.01f;
  sgd.momentum = 0.9f;
  OptimizerStep adam;
  adam.kind = OptimizerKind::kAdam;
  adam.learning_rate = 0.01f;
  adam.beta1 = 0.9;
  adam.beta2 = 0.999;
  adam.epsilon = 1e-8f;
  const auto update = [&](const OptimizerStep& step, uint16_t* shadow) {
    return SecondsOf(device,
                     [&] { device->Update(step, a.f32(), b.f32(), shadow, c.f32(), d.f32(), n); });
  };
  Json out;
  out["device"] = device->info().name;
  out["copy_bytes_per_second"] = 2 * bytes / copy;
  out["sgd_bytes_per_second"] = 5 * bytes / update(sgd, nullptr);
  out["adam_bytes_per_second"] = 7 * bytes / update(adam, nullptr);
  out["adam_bf16_bytes_per_second"] = 7.5 * bytes / update(adam, half.bf16());
  const int64_t size = cpu ? 512 : 8192;
  out["fp32_flops_per_second"] = ProductRate(device, size, Dtype::kF32);
  if (device->info().native_bf16) {
    out["bf16_flops_per_second"] = ProductRate(device, size, Dtype::kBF16);
  }
  return out;
}

struct Case {
  std::string layers;  // YAML of a net section
  Shape input;
  int64_t outputs = 0, batch = 0;
  Dtype compute = Dtype::kF32;
};

// Random samples that lie in the device's memory; every step has the same.
class Resident : public BatchSource {
 public:
  Resident(Device* device, const Case& c) : batch_(c.batch) {
    std::vector<int64_t> dims{c.batch};
    dims.insert(dims.end(), c.input.dims().begin(), c.input.dims().end());
    const Tensor wide(device, Dtype::kF32, Shape(dims));
    samples_ = {Tensor(device, c.compute, Shape(dims)), Tensor(device, Dtype::kI32, {c.batch})};
    std::vector<float> x(static_cast<size_t>(wide.elements()));
    std::vector<int32_t> y(static_cast<size_t>(c.batch));
    RandomSequence random(1, 1);
    for (float& v : x) v = random.Normal();
    for (int32_t& v : y) v = static_cast<int32_t>(random.Below(static_cast<uint64_t>(c.outputs)));
    wide.Upload(x.data());
    device->Convert(wide.data(), Dtype::kF32, samples_.input.data(), c.compute, wide.elements());
    samples_.labels.Upload(y.data());
  }
  int64_t Rows(int64_t) override { return batch_; }
  DeviceBatch Take(int, int64_t, int64_t, int64_t) override { return samples_; }

 private:
  const int64_t batch_;
  DeviceBatch samples_;
};

// What a step moves at least: a parameter is read by both passes, its gradient written, and the
// update reads gradient, value and momentum and writes two; an activation and its gradient are
// written once and read twice.
double BytesOf(const NetPlan& plan, const Case& c) {
  double activations = 0;
  for (const OpInfo& op : plan.ops) activations += static_cast<double>(op.output.elements());
  const double wide = static_cast<double>(SizeOf(c.compute));
  return static_cast<double>(plan.parameters()) * (2 * wide + 4 + 20) +
         6 * wide * activations * static_cast<double>(c.batch);
}

Json MeasureSteps(Device* device, const Case& c) {
  NetSpec net;
  OptimizerSpec optimizer;
  LoadConfigText("net: " + c.layers + "\noptimizer: {type: sgd, momentum: 0.9}\n", "gpu_bench", ".",
                 {}, [&](Fields* f) {
                   f->Section("net", &net, "");
                   f->Section("optimizer", &optimizer, "");
                 });
  DataParallelOptions o;
  o.devices = {device};
  o.net = &net;
  o.input = c.input;
  o.outputs = c.outputs;
  o.batch_size = c.batch;
  o.optimizer = optimizer;
  o.compute = c.compute;
  DataParallel parallel(o);
  parallel.Initialize();
  Resident samples(device, c);
  RunOptions run;
  run.learning_rate = [](int64_t) { return 0.001; };
  const auto steps = [&](int64_t n) {
    run.first_step = run.last_step;
    run.last_step += n;
    const double begin = Clock::Real()->NowSeconds();
    parallel.Run(&samples, run);
    device->Synchronize();
    return (Clock::Real()->NowSeconds() - begin) / static_cast<double>(n);
  };
  const double first = steps(5);  // algorithms are chosen, graphs recorded
  const int64_t each = std::clamp<int64_t>(static_cast<int64_t>(0.2 / first), 2, 500);
  std::vector<double> seconds;
  for (double spent = 0; spent < kSeconds || seconds.size() < 3; spent += seconds.back() * each) {
    seconds.push_back(steps(each));
  }
  const NetPlan& plan = parallel.net(0)->plan();
  double flops = 0, first_flops = 0;  // nobody asks for the gradient of the samples
  for (const OpInfo& op : plan.ops) {
    if (first_flops == 0) first_flops = op.flops;
    flops += 3 * op.flops;
  }
  Json out;
  out["device"] = device->info().name;
  out["seconds"] = Median(seconds);
  out["flops"] = (flops - first_flops) * static_cast<double>(c.batch);
  out["bytes"] = BytesOf(plan, c);
  out["unrecorded"] = parallel.net(0)->unrecorded();
  return out;
}

std::string Stack(int64_t units, int64_t layers) {
  return StrCat("{layers: [{type: linear, units: ", units,
                ", activation: sigmoid, repeat: ", layers, "}, {type: linear, units: 0}]}");
}

Dtype PrecisionOf(const std::string& name) {
  if (name == "bf16") return Dtype::kBF16;
  if (name == "fp32") return Dtype::kF32;
  throw Fail(ExitCode::kUsage, name, ": not fp32 or bf16");
}

Json Measure(const std::vector<std::string>& words, Device* device, bool cpu) {
  const auto number = [&](size_t i) { return std::atoll(words.at(i).c_str()); };
  if (words.at(0) == "machine") return MeasureMachine(device, cpu);
  Case c;
  if (words[0] == "speech" || words[0] == "small") {
    const bool small = words[0] == "small";
    c.layers = small ? Stack(512, 4) : Stack(2048, 7);
    c.input = Shape{440};
    c.outputs = small ? 2000 : 12000;
    c.batch = number(1);
    c.compute = PrecisionOf(words.at(2));
  } else if (words[0] == "zoo") {
    c.layers = StrCat("{include: ", words.at(1), "}");
    c.input = Shape{number(2), number(2), 3};
    c.outputs = number(3);
    c.batch = number(4);
    c.compute = PrecisionOf(words.at(5));
  } else {
    throw Fail(ExitCode::kUsage, words[0], ": not machine, speech, small or zoo");
  }
  return MeasureSteps(device, c);
}

int Main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const bool cpu = !words.empty() && words[0] == "--device=cpu";
  if (cpu) words.erase(words.begin());
  if (words.empty()) throw Fail(ExitCode::kUsage, "gpu_bench: say what to measure");
  const auto device = cpu ? MakeCpuDevice(0, 1, -1) : OpenCudaDevice(0, false);
  std::printf("%s\n", Measure(words, device.get(), cpu).dump().c_str());
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  try {
    return mariana::Main(argc, argv);
  } catch (const mariana::Error& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_bench: usage: see the file's comment (%s)\n", e.what());
    return static_cast<int>(mariana::ExitCode::kUsage);
  }
}
