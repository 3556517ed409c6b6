// Training on a GPU beside training on CPUs: the same answers, for one worker and for several that
// share the GPU; and replayed pieces of a step beside the step as it is. Where there is no GPU,
// each case says that it was not run.
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>

#include "common/base/random.h"
#include "common/config/config.h"
#include "common/device/plugin/plugin.h"
#include "common/train/data_parallel.h"
#include "tests/common/train/on_ranks.h"

namespace mariana {
namespace {

constexpr int64_t kClasses = 5, kBatch = 26, kLastBatch = 11, kSteps = 100;

// Points around a center a class; sample i of step s is a pure function of (s, i).
class Points : public BatchSource {
 public:
  Points(const std::vector<Device*>& devices, Shape input)
      : devices_(devices), input_(std::move(input)) {}
  int64_t Rows(int64_t step) override { return step % 10 == 9 ? kLastBatch : kBatch; }
  DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) override {
    std::vector<float> x(static_cast<size_t>(rows * input_.elements()));
    std::vector<int32_t> y(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
      RandomSequence random(99, static_cast<uint64_t>(step * kBatch + begin + r));
      const auto label = static_cast<int32_t>(random.Below(kClasses));
      y[static_cast<size_t>(r)] = label;
      for (int64_t j = 0; j < input_.elements(); ++j) {
        const float center = ((label >> (j % 3)) & 1) != 0 ? 1.0f : -1.0f;
        x[static_cast<size_t>(r * input_.elements() + j)] = center + 0.5f * random.Normal();
      }
    }
    std::vector<int64_t> dims{rows};
    dims.insert(dims.end(), input_.dims().begin(), input_.dims().end());
    Device* device =
        devices_[static_cast<size_t>(worker) % devices_.size()];  // of all ranks' workers
    DeviceBatch batch{Tensor(device, Dtype::kF32, Shape(dims)),
                      Tensor(device, Dtype::kI32, {rows})};
    batch.input.Upload(x.data());
    batch.labels.Upload(y.data());
    return batch;
  }

 private:
  std::vector<Device*> devices_;
  Shape input_;  // of one sample
};

struct Job {
  Job(const std::string& layers, const std::string& optimizer, Shape shape)
      : input(std::move(shape)) {
    LoadConfigText("net:\n  group: 4\n  layers: " + layers + "\noptimizer: " + optimizer + "\n",
                   "test.yaml", ".", {}, [&](Fields* f) {
                     f->Section("net", &net, "");
                     f->Section("optimizer", &optimizer_spec, "");
                   });
  }
  NetSpec net;
  OptimizerSpec optimizer_spec;
  Shape input;
};

std::vector<Job> Jobs() {
  std::vector<Job> jobs;
  jobs.emplace_back(
      "[{type: linear, units: 24, activation: tanh}, {type: batch_norm}, {type: dropout, rate: "
      "0.25}, {type: residual, layers: [{type: linear, units: 24, activation: sigmoid}]}, {type: "
      "linear, units: 0}]",
      "{type: sgd, momentum: 0.9, clip_norm: 5}", Shape{8});
  jobs.emplace_back(
      "[{type: conv, channels: 16, kernel: 3, padding: 1, bias: false}, {type: batch_norm}, {type: "
      "relu}, {type: max_pool, kernel: 2, stride: 2}, {type: conv, channels: 16, kernel: 3, "
      "padding: 1, activation: relu}, {type: lrn}, {type: avg_pool, kernel: 2, stride: 2}, {type: "
      "linear, units: 0}]",
      "{type: adam}", Shape{8, 8, 4});
  return jobs;
}

struct Trained {
  std::vector<double> losses;
  std::vector<float> values;
};

struct How {
  bool in_pieces = true;
  int split = 1;  // workers that share a model
  Ranks* ranks = nullptr;
};

Trained Train(const Job& job, const std::vector<Device*>& devices, const How& how = How()) {
  DataParallelOptions o;
  o.devices = devices;
  o.split.workers = how.split;
  o.ranks = how.ranks;
  o.net = &job.net;
  o.input = job.input;
  o.outputs = kClasses;
  o.batch_size = kBatch;
  o.seed = 5;
  o.optimizer = job.optimizer_spec;
  o.bucket_bytes = 1024;  // several buckets even in this small net
  DataParallel parallel(o);
  parallel.Initialize();
  parallel.EnableProfile(!how.in_pieces);  // times each operation, so nothing is replayed
  Points points(devices, job.input);
  Trained trained;
  RunOptions run;
  run.last_step = kSteps;
  run.learning_rate = [](int64_t) { return 0.01; };
  run.on_step = [&](const StepResult& r) { trained.losses.push_back(r.loss); };
  parallel.Run(&points, run);
  for (const HostTensor& t : parallel.SaveModel()) {
    const auto* f = reinterpret_cast<const float*>(t.bytes.data());
    trained.values.insert(trained.values.end(), f, f + t.shape.elements());
  }
  return trained;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

// Devices and pointers to them.
struct Fleet {
  explicit Fleet(std::vector<std::unique_ptr<Device>> list) : owned(std::move(list)) {
    for (const auto& d : owned) devices.push_back(d.get());
  }
  std::vector<std::unique_ptr<Device>> owned;
  std::vector<Device*> devices;
};
template <class F>
Fleet FleetOf(int n, const F& make) {
  std::vector<std::unique_ptr<Device>> devices;
  for (int i = 0; i < n; ++i) devices.push_back(make(i));
  return Fleet(std::move(devices));
}
Fleet Cpus(int n) {
  return FleetOf(n, [](int i) { return MakeCpuDevice(i, 1, -1); });
}
// n workers on the first GPU, in full precision.
Fleet OnOneGpu(int n) {
  return FleetOf(n, [](int) { return OpenCudaDevice(0, true); });
}

bool HasGpu() {
  std::string why;
  if (UsableCudaDevices(&why) > 0) return true;
  WARN("not run: " << why);
  return false;
}

TEST_CASE("the jobs of these tests learn on CPUs") {
  for (const Job& job : Jobs()) {
    const Trained one = Train(job, Cpus(1).devices);
    REQUIRE(one.losses.size() == kSteps);
    REQUIRE(one.losses.back() < 0.8 * one.losses.front());
    REQUIRE(Distance(Train(job, Cpus(2).devices).values, one.values) < 1e-3);
  }
}

TEST_CASE("CUDA: 100 steps end where they end on CPUs, for any number of workers on one GPU") {
  if (!HasGpu()) return;
  for (const Job& job : Jobs()) {
    const Trained cpu = Train(job, Cpus(1).devices);
    for (const int workers : {1, 2, 3}) {
      CAPTURE(workers);
      const Trained gpu = Train(job, OnOneGpu(workers).devices);
      CHECK(Distance(gpu.values, cpu.values) < 1e-3);
      CHECK(gpu.losses[0] == Approx(cpu.losses[0]).epsilon(1e-5));
      CHECK(gpu.losses.back() == Approx(cpu.losses.back()).epsilon(0.01));
    }
  }
}

TEST_CASE("CUDA: workers that share a model on one GPU end where one on a CPU ends") {
  const std::vector<Job> jobs = Jobs();
  const Job& job = jobs[1];
  const Trained cpu = Train(job, Cpus(1).devices);
  REQUIRE(Distance(Train(job, Cpus(2).devices, {true, 2}).values, cpu.values) < 1e-3);
  if (!HasGpu()) return;
  for (const auto& [workers, split] : {std::pair{2, 2}, {4, 2}, {3, 3}}) {
    CAPTURE(workers, split);
    const Trained gpu = Train(job, OnOneGpu(workers).devices, {true, split});
    CHECK(Distance(gpu.values, cpu.values) < 1e-3);
    CHECK(gpu.losses[0] == Approx(cpu.losses[0]).epsilon(1e-5));
  }
}

TEST_CASE("CUDA: workers of several ranks on one GPU end in the bits of one process") {
  const auto on_ranks = [](const Job& job, const auto& make) {
    std::vector<Trained> all(2);
    OnRanks(2, [&](Ranks* ranks) {
      How how;
      how.ranks = ranks;
      all[static_cast<size_t>(ranks->rank())] = Train(job, make(1).devices, how);
    });
    REQUIRE(all[0].values == all[1].values);
    return all[0].values;
  };
  const bool gpu = HasGpu();
  for (const Job& job : Jobs()) {
    CHECK(on_ranks(job, Cpus) == Train(job, Cpus(2).devices).values);
    if (gpu) CHECK(on_ranks(job, OnOneGpu) == Train(job, OnOneGpu(2).devices).values);
  }
}

TEST_CASE("CUDA: the same job gives the same bits, replayed or not") {
  if (!HasGpu()) return;
  for (const Job& job : Jobs()) {
    for (const int workers : {1, 2}) {
      CAPTURE(workers);
      const Trained first = Train(job, OnOneGpu(workers).devices);
      const Trained again = Train(job, OnOneGpu(workers).devices);
      REQUIRE(first.values == again.values);
      REQUIRE(first.losses == again.losses);
    }
    const Trained replayed = Train(job, OnOneGpu(1).devices);
    const Trained plain = Train(job, OnOneGpu(1).devices, {/*in_pieces=*/false});
    REQUIRE(replayed.values == plain.values);
    REQUIRE(replayed.losses == plain.losses);
  }
}

}  // namespace
}  // namespace mariana
