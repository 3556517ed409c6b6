// Models that several workers share train as on one: every kind of split, in every shape of groups
// and partitions.
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/nn/split_transfers.h"
#include "common/train/data_parallel.h"

namespace mariana {
namespace {

constexpr int64_t kClasses = 7, kBatch = 12, kSteps = 50;

// Noise around a picture a class; sample i of step s is a pure function of (s, i).
class Pictures : public BatchSource {
 public:
  explicit Pictures(Shape input) : input_(std::move(input)) {}
  int64_t Rows(int64_t step) override { return step % 8 == 7 ? 5 : kBatch; }
  DeviceBatch Take(int, int64_t step, int64_t begin, int64_t rows) override {
    struct Samples {
      std::vector<float> x;
      std::vector<int32_t> y;
    };
    const auto memory = std::make_shared<Samples>();
    const int64_t n = input_.elements();
    for (int64_t r = 0; r < rows; ++r) {
      RandomSequence random(99, static_cast<uint64_t>(step * kBatch + begin + r));
      const int64_t label = random.Below(kClasses);
      memory->y.push_back(static_cast<int32_t>(label));
      for (int64_t j = 0; j < n; ++j) {
        memory->x.push_back(std::sin(static_cast<float>(j * (label + 1))) + random.Normal());
      }
    }
    std::vector<int64_t> dims{rows};
    dims.insert(dims.end(), input_.dims().begin(), input_.dims().end());
    return {Tensor(nullptr, Dtype::kF32, Shape(dims), {memory, memory->x.data()}),
            Tensor(nullptr, Dtype::kI32, {rows}, {memory, memory->y.data()})};
  }

 private:
  Shape input_;
};

struct Job {
  NetSpec net;
  OptimizerSpec optimizer;
  std::vector<SplitChoice> layers;
  Shape input{6, 6, 3};
  void Describe(Fields* f) {
    f->Section("net", &net, "");
    f->Section("optimizer", &optimizer, "");
    f->List("split", &layers, "");
  }
};

Job MakeJob(const std::string& layers, const std::string& split = "[]") {
  Job job;
  LoadConfigText("net:\n  group: 4\n  label_smoothing: 0.1\n  layers: " + layers +
                     "\noptimizer: {type: sgd, momentum: 0.9, clip_norm: 2, l2: 0.001}\nsplit: " +
                     split + "\n",
                 "test.yaml", ".", {}, [&](Fields* f) { job.Describe(f); });
  return job;
}

struct Shape2 {
  int groups, split;
};

class Trainer {
 public:
  Trainer(const Job& job, int groups, int split) {
    for (int w = 0; w < groups * split; ++w) {
      devices_.push_back(MakeCpuDevice(w, 1, -1));
      options.devices.push_back(devices_.back().get());
    }
    options.net = &job.net;
    options.split = {split, job.layers};
    options.input = job.input;
    options.outputs = kClasses;
    options.batch_size = kBatch;
    options.accumulate = 2;
    options.seed = 5;
    options.optimizer = job.optimizer;
    options.bucket_bytes = 4096;
    parallel = std::make_unique<DataParallel>(options);
    parallel->Initialize();
  }
  // Losses of steps [first, last).
  std::vector<double> Run(BatchSource* source, int64_t first, int64_t last) {
    std::vector<double> losses;
    RunOptions run;
    run.first_step = first;
    run.last_step = last;
    run.learning_rate = [](int64_t) { return 0.02; };
    run.on_step = [&](const StepResult& r) {
      losses.push_back(r.loss);
      correct += r.correct;
    };
    parallel->Run(source, run);
    return losses;
  }
  int64_t correct = 0;

 private:
  std::vector<std::unique_ptr<Device>> devices_;

 public:
  DataParallelOptions options;
  std::unique_ptr<DataParallel> parallel;
};

std::vector<float> Flatten(const std::vector<HostTensor>& tensors) {
  std::vector<float> all;
  for (const HostTensor& t : tensors) {
    const auto* f = reinterpret_cast<const float*>(t.bytes.data());
    all.insert(all.end(), f, f + t.shape.elements());
  }
  return all;
}

template <class T>
double RelativeDistance(const std::vector<T>& a, const std::vector<T>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{a[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

void CheckAllShapes(const Job& job, const std::vector<Shape2>& shapes) {
  Pictures pictures(job.input);
  Trainer one(job, 1, 1);
  const std::vector<float> initial = Flatten(one.parallel->SaveModel());
  const std::vector<double> losses = one.Run(&pictures, 0, kSteps);
  REQUIRE(losses.back() < 0.9 * losses.front());
  for (const Shape2& shape : shapes) {
    CAPTURE(shape.groups, shape.split);
    Trainer all(job, shape.groups, shape.split);
    REQUIRE(Flatten(all.parallel->SaveModel()) == initial);
    CHECK(RelativeDistance(losses, all.Run(&pictures, 0, kSteps)) < 1e-4);
    CHECK(RelativeDistance(Flatten(one.parallel->SaveModel()),
                           Flatten(all.parallel->SaveModel())) < 1e-4);
    CHECK(std::abs(all.correct - one.correct) <= 1);
  }
}

const std::vector<Shape2> kAllShapes = {{2, 1}, {1, 2}, {2, 2}, {1, 3}, {1, 4}};
const std::vector<Shape2> kSomeShapes = {{1, 2}, {2, 2}, {1, 3}};

}  // namespace

TEST_CASE("linear layers split by columns, softmax over split classes") {
  CheckAllShapes(MakeJob("[{type: linear, units: 37, activation: tanh}, {type: batch_norm}, "
                         "{type: dropout, rate: 0.2}, {type: linear, units: 24}, {type: relu}, "
                         "{type: linear, units: 0}]"),
                 kAllShapes);
}

}  // namespace mariana
