// Models that several workers share train as on one: every kind of split, in every shape of groups
// and partitions.
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/nn/transfer_check.h"
#include "common/train/data_parallel.h"
#include "common/train/shared_net.h"
#include "common/train/split_report.h"
#include "tests/common/train/on_ranks.h"

namespace mariana {
namespace {

constexpr int64_t kClasses = 7, kBatch = 12, kSteps = 50;
constexpr int64_t kSameSteps = 20;  // where bits are compared

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

struct Workers {
  int groups, split;
  int ranks = 1;
};

class Trainer {
 public:
  Trainer(const Job& job, int groups, int split, Ranks* ranks = nullptr, double ema = 0) {
    const int local = groups * split / (ranks ? ranks->size() : 1);
    options.ranks = ranks;
    for (int w = 0; w < local; ++w) {
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
    options.ema = ema;
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

// What a job of ranks comes to: as they all have it.
struct Outcome {
  std::vector<double> losses;
  std::vector<float> model;
  int64_t correct = 0;
  bool operator==(const Outcome& o) const {
    return losses == o.losses && model == o.model && correct == o.correct;
  }
};

std::vector<Outcome> TrainOnRanks(const Job& job, const Workers& shape) {
  std::vector<Outcome> outcomes(static_cast<size_t>(shape.ranks));
  OnRanks(shape.ranks, [&](Ranks* ranks) {
    Pictures pictures(job.input);
    Trainer part(job, shape.groups, shape.split, ranks);
    Outcome& mine = outcomes[static_cast<size_t>(ranks->rank())];
    mine.losses = part.Run(&pictures, 0, kSameSteps);
    mine.model = Flatten(part.parallel->SaveModel());
    mine.correct = part.correct;
  });
  return outcomes;
}

void CheckAllShapes(const Job& job, const std::vector<Workers>& shapes) {
  Pictures pictures(job.input);
  Trainer one(job, 1, 1);
  const std::vector<float> initial = Flatten(one.parallel->SaveModel());
  const std::vector<double> losses = one.Run(&pictures, 0, kSteps);
  REQUIRE(losses.back() < losses.front());
  for (const Workers& shape : shapes) {
    CAPTURE(shape.groups, shape.split);
    Trainer all(job, shape.groups, shape.split);
    REQUIRE(Flatten(all.parallel->SaveModel()) == initial);
    CHECK(RelativeDistance(losses, all.Run(&pictures, 0, kSteps)) < 1e-4);
    CHECK(RelativeDistance(Flatten(one.parallel->SaveModel()), Flatten(all.parallel->SaveModel())) <
          1e-4);
    CHECK(std::abs(all.correct - one.correct) <= 1);
  }
}

// Each rank's losses and model are the bits of as many workers of one process.
void CheckOnRanks(const Job& job, const std::vector<Workers>& shapes) {
  for (const Workers& shape : shapes) {
    CAPTURE(shape.groups, shape.split, shape.ranks);
    Pictures pictures(job.input);
    Trainer together(job, shape.groups, shape.split);
    Outcome expected;
    expected.losses = together.Run(&pictures, 0, kSameSteps);
    expected.model = Flatten(together.parallel->SaveModel());
    expected.correct = together.correct;
    for (const Outcome& outcome : TrainOnRanks(job, shape)) CHECK(outcome == expected);
  }
}

const std::vector<Workers> kAllShapes = {{2, 1}, {1, 2}, {2, 2}, {1, 3}, {1, 4}};
// A group on one rank, on several, and of ranks that have parts of two groups.
const std::vector<Workers> kOnRanks = {{2, 1, 2}, {1, 2, 2}, {2, 2, 4}, {2, 2, 2},
                                       {1, 3, 3}, {1, 4, 4}, {1, 4, 2}, {2, 3, 3}};
const std::vector<Workers> kSomeShapes = {{1, 2}, {2, 2}, {1, 3}};

}  // namespace

TEST_CASE("linear layers split by columns, softmax over split classes") {
  const Job job = MakeJob(
      "[{type: linear, units: 37, activation: tanh}, {type: batch_norm}, "
      "{type: dropout, rate: 0.2}, {type: linear, units: 24}, {type: relu}, "
      "{type: linear, units: 0}]",
      "[{layer: linear2, split: columns}, {layer: linear3, split: columns}]");
  CheckAllShapes(job, kAllShapes);
  CheckOnRanks(job, kOnRanks);
}

TEST_CASE("convolutions split by channels: pooling, normalisation and residuals go along") {
  const Job job = MakeJob(
      "[{type: conv, channels: 24, padding: 1, activation: relu}, "
      "{type: lrn, size: 5, alpha: 0.1}, {type: max_pool}, "
      "{type: conv, channels: 20, groups: 2, padding: 1}, {type: batch_norm}, "
      "{type: relu}, {type: residual, activation: relu, layers: [{type: conv, channels: "
      "20, padding: 1, bias: false}, {type: batch_norm}]}, {type: dropout, rate: 0.2}, "
      "{type: global_pool}, {type: linear, units: 0}]");
  CheckAllShapes(job, kAllShapes);
  CheckOnRanks(job, kOnRanks);
}

TEST_CASE("linear layers split by rows, of images and of columns") {
  const Job job = MakeJob(
      "[{type: conv, channels: 12, activation: relu}, {type: flatten}, {type: linear, "
      "name: first, units: 30, activation: relu}, {type: dropout}, {type: linear, name: "
      "second, units: 20, activation: tanh}, {type: linear, name: last, units: 0}]",
      "[{layer: first, split: rows}, {layer: second, split: rows}, "
      "{layer: last, split: rows}]");
  CheckAllShapes(job, kSomeShapes);
  CheckOnRanks(job, {{2, 2, 4}, {1, 3, 3}, {2, 3, 3}});
}

TEST_CASE("what every worker computes is the same bits on all") {
  const Job job = MakeJob(
      "[{type: conv, channels: 8, padding: 1, name: conv}, {type: batch_norm}, {type: relu}, "
      "{type: linear, units: 16, activation: relu, name: hidden}, {type: linear, name: last, "
      "units: "
      "0}]",
      "[{layer: conv, split: none}, {layer: last, split: none}]");
  CheckAllShapes(job, kSomeShapes);
  Pictures pictures(job.input);
  Trainer two(job, 2, 2);
  two.Run(&pictures, 0, 20);
  Net* const first = two.parallel->net(0);
  for (int w = 1; w < 4; ++w) {
    Net* const other = two.parallel->net(w);
    for (size_t i = 0; i < first->params().size(); ++i) {
      const ParamInfo &p = first->params()[i], &q = other->params()[i];
      REQUIRE(p.name == q.name);
      if (p.shape != p.part.whole) continue;
      CAPTURE(w, p.name);
      CHECK(std::equal(first->values() + p.offset, first->values() + p.offset + p.elements,
                       other->values() + q.offset));
      CHECK(q.counts == (w % 2 == 0));
    }
  }
}

TEST_CASE("branches and towers on workers of their own") {
  const std::string arm = "{type: conv, channels: 8, padding: 1}, {type: batch_norm}, {type: relu}";
  const Job branches = MakeJob(
      "[{type: conv, channels: 8, activation: relu, padding: 1, name: stem}, {type: branch, "
      "name: arms, branches: [{name: left, layers: [" +
          arm + "]}, {name: right, layers: [" + arm +
          "]}, {name: plain, layers: []}]}, {type: global_pool}, {type: linear, units: 0}]",
      "[{layer: stem, place: 1}, {layer: arms.left, place: 0}, "
      "{layer: arms.right, place: 1}]");
  CheckAllShapes(branches, kSomeShapes);
  CheckOnRanks(branches, {{1, 2, 2}, {2, 2, 4}, {1, 3, 3}});
  const std::string tower =
      "{type: conv, channels: 8, stride: 2, activation: relu}, {type: linear, "
      "units: 12, activation: tanh}, {type: linear, units: 7}";
  const Job towers = MakeJob("[{type: branch, name: towers, join: add, branches: [{layers: [" +
                                 tower + "]}, {layers: [" + tower + "]}]}]",
                             "[{layer: towers.0, place: 0}, {layer: towers.1, place: 1}]");
  CheckAllShapes(towers, {{1, 2}, {2, 2}});
  CheckOnRanks(towers, {{1, 2, 2}, {2, 2, 4}});
}

TEST_CASE("training goes on with any number of groups and workers to a model") {
  const Job job = MakeJob(
      "[{type: conv, channels: 16, activation: relu}, {type: batch_norm}, "
      "{type: linear, units: 24, activation: relu}, {type: linear, units: 0}]");
  Pictures pictures(job.input);
  Trainer one(job, 1, 1);
  one.Run(&pictures, 0, 40);
  const std::vector<float> expected = Flatten(one.parallel->SaveModel());
  std::vector<HostTensor> model, optimizer;
  int64_t step = 0;
  for (const Workers& shape : {Workers{1, 2}, {2, 2}, {1, 1}, {1, 3}}) {
    Trainer next(job, shape.groups, shape.split);
    if (step > 0) {
      next.parallel->LoadModel(model, "memory");
      next.parallel->LoadOptimizer(optimizer, "memory");
      next.parallel->set_steps_done(step);
    }
    next.Run(&pictures, step, step + 10);
    step += 10;
    model = next.parallel->SaveModel();
    optimizer = next.parallel->SaveOptimizer();
  }
  CHECK(RelativeDistance(expected, Flatten(model)) < 1e-4);
  CHECK(RelativeDistance(Flatten(one.parallel->SaveOptimizer()), Flatten(optimizer)) < 1e-3);
}

TEST_CASE("ranks go on from each other's checkpoints, with averages of the values") {
  const Job job = MakeJob(
      "[{type: conv, channels: 16, activation: relu}, {type: batch_norm}, "
      "{type: linear, units: 24, activation: relu}, {type: linear, units: 0}]");
  struct Saved {
    std::vector<HostTensor> model, optimizer;
  } saved;
  int64_t step = 0;
  const auto go_on = [&](Trainer* next, BatchSource* pictures) {
    if (step > 0) {
      next->parallel->LoadModel(saved.model, "memory");
      next->parallel->LoadOptimizer(saved.optimizer, "memory");
      next->parallel->set_steps_done(step);
    }
    next->Run(pictures, step, step + 10);
    return Saved{next->parallel->SaveModel(), next->parallel->SaveOptimizer()};
  };
  Pictures pictures(job.input);
  Trainer one(job, 1, 1, nullptr, 0.9);
  one.Run(&pictures, 0, 40);
  for (const Workers& shape :
       {Workers{1, 3, 3}, Workers{2, 2, 4}, Workers{2, 3, 3}, Workers{1, 2, 1}}) {
    CAPTURE(shape.groups, shape.split, shape.ranks);
    Saved first;
    std::vector<std::vector<float>> models(static_cast<size_t>(shape.ranks));
    std::vector<float> again;
    OnRanks(shape.ranks, [&](Ranks* ranks) {
      Pictures own(job.input);
      Trainer next(job, shape.groups, shape.split, ranks, 0.9);
      Saved mine = go_on(&next, &own);
      models[static_cast<size_t>(ranks->rank())] = Flatten(mine.model);
      next.parallel->WithAverages([] {});  // and back to the values
      const std::vector<float> optimizer = Flatten(next.parallel->SaveOptimizer());
      if (!ranks->first()) return;
      again = optimizer;
      first = std::move(mine);
    });
    for (const auto& model : models) CHECK(model == Flatten(first.model));
    CHECK(again == Flatten(first.optimizer));
    saved = std::move(first);
    step += 10;
  }
  CHECK(RelativeDistance(Flatten(one.parallel->SaveModel()), Flatten(saved.model)) < 1e-4);
  CHECK(RelativeDistance(Flatten(one.parallel->SaveOptimizer()), Flatten(saved.optimizer)) < 1e-3);
}

TEST_CASE("a worker's failure ends all ranks of a split model, by its name") {
  class Breaks : public Pictures {
   public:
    using Pictures::Pictures;
    DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) override {
      if (worker == 4 && step == 2) throw Error(ExitCode::kIo, "no picture");
      return Pictures::Take(worker, step, begin, rows);
    }
  };
  const Job job = MakeJob("[{type: conv, channels: 12}, {type: linear, units: 0}]");
  std::vector<std::string> errors(3);
  OnRanks(3, [&](Ranks* ranks) {
    Breaks pictures(job.input);
    try {
      Trainer(job, 2, 3, ranks).Run(&pictures, 0, 5);
    } catch (const Error& e) {
      errors[static_cast<size_t>(ranks->rank())] = e.message();
    }
  });
  for (const std::string& error : errors) CHECK_THAT(error, Catch::Contains("no picture"));
  CHECK_THAT(errors[0], Catch::Contains("worker 4 (rank 2"));
}

namespace {

std::unique_ptr<Net> MakeNetOf(const Job& job, int split, Device* device) {
  NetOptions options;
  options.device = device;
  options.max_rows = kBatch;
  options.input = job.input;
  options.outputs = kClasses;
  options.input_gradient = true;
  if (split == 1) return Net::Build(job.net, options);
  std::vector<std::unique_ptr<Device>> others;
  for (int w = 1; w < split; ++w) others.push_back(MakeCpuDevice(w, 1, -1));
  return MakeSharedNet(job.net, options, {split, job.layers}, std::move(others));
}

// Losses of some steps of SGD on the net's arenas; then, by the caller's own gradient of the
// outputs, those of the input and of the parameters.
struct Course {
  std::vector<float> losses, input_gradient, gradients;
};

Course TrainNet(const Job& job, int split) {
  const auto device = MakeCpuDevice(0, 1, -1);
  const auto net = MakeNetOf(job, split, device.get());
  net->Initialize(7);
  Pictures pictures(job.input);
  Course course;
  StepContext context;
  context.seed = 3;
  for (int64_t step = 0; step < 20; ++step) {
    context.rows = context.batch_rows = pictures.Rows(step);
    context.first_sample = step * kBatch;
    const DeviceBatch batch = pictures.Take(0, step, 0, context.rows);
    net->Forward(context, batch.input);
    course.losses.push_back(static_cast<float>(net->Loss(context, batch.labels).loss));
    net->Backward(context, batch.input);
    float* const values = net->values();
    for (int64_t i = 0; i < net->arena_elements(); ++i) values[i] -= 0.05f * net->grads()[i];
    if (step + 1 < 20) continue;
    net->Forward(context, batch.input);
    const Tensor outputs = net->outputs(), gradient = net->output_gradient();
    std::copy_n(outputs.f32(), outputs.elements(), gradient.f32());
    net->Backward(context, batch.input);
    const Tensor dx = net->input_gradient();
    course.input_gradient.assign(dx.f32(), dx.f32() + dx.elements());
    course.gradients.assign(net->grads(), net->grads() + net->arena_elements());
  }
  return course;
}

}  // namespace

TEST_CASE("a net that several devices share looks like one") {
  const Job job = MakeJob(
      "[{type: conv, channels: 12, padding: 1, activation: relu}, {type: lrn, alpha: 0.1}, "
      "{type: max_pool}, {type: linear, units: 30, activation: tanh}, {type: dropout}, "
      "{type: linear, units: 24, activation: relu}, {type: linear, units: 0, name: last}]",
      "[{layer: last, split: none}]");
  const Course one = TrainNet(job, 1);
  for (int split : {2, 3}) {
    const Course shared = TrainNet(job, split);
    CHECK(RelativeDistance(one.losses, shared.losses) < 1e-4);
    CHECK(RelativeDistance(one.input_gradient, shared.input_gradient) < 1e-3);
    CHECK(RelativeDistance(one.gradients, shared.gradients) < 1e-3);
  }
  CHECK_THROWS_WITH(TrainNet(MakeJob("[{type: linear, units: 8}, {type: batch_norm}, "
                                     "{type: linear, units: 0}]"),
                             2),
                    Catch::Contains("batch normalisation"));
}

TEST_CASE("as much travels as the plan says, and no plan that waits in a circle passes") {
  const Job job = MakeJob(
      "[{type: conv, channels: 16}, {type: conv, channels: 16}, "
      "{type: linear, units: 0}]");
  Pictures pictures(job.input);
  Trainer two(job, 1, 2);
  const int64_t steps = 4;
  two.Run(&pictures, 0, steps);
  const SplitPlan& plan = *two.parallel->split();
  const std::vector<int64_t> bytes = two.parallel->TransferredBytes();
  REQUIRE(bytes.size() == plan.messages.size());
  for (size_t m = 0; m < bytes.size(); ++m) {
    const TransferMessage& message = plan.messages[m];
    const bool runs =
        message.transfer < 0 || !plan.transfers[static_cast<size_t>(message.transfer)].evaluation;
    CHECK(bytes[m] == (runs ? message.bytes * kBatch * steps : 0));
  }

  using Events = std::vector<std::vector<TransferEvent>>;
  const auto offer = [](int m) { return TransferEvent{TransferEvent::kOffer, m}; };
  const auto receive = [](int m) { return TransferEvent{TransferEvent::kReceive, m}; };
  SplitPlan pair;
  pair.workers = 2;
  pair.messages = {{-1, false, 0, 1, {}, 4}, {-1, false, 1, 0, {}, 4}};
  CheckTransfers(pair, Events{{offer(0), receive(1)}, {offer(1), receive(0)}});
  CHECK_THROWS_WITH(CheckTransfers(pair, Events{{receive(1), offer(0)}, {receive(0), offer(1)}}),
                    Catch::Contains("deadlock; worker 0 waits for loss from worker 1 to 0"));
  CHECK_THROWS_WITH(CheckTransfers(pair, Events{{offer(0)}, {}}), Catch::Contains("nobody takes"));
}

TEST_CASE("what a device cannot hold is refused with the split that fits") {
  Job job = MakeJob(
      "[{type: conv, channels: 64, padding: 1}, {type: linear, units: 512}, "
      "{type: linear, units: 0}]");
  Trainer one(job, 1, 1), two(job, 1, 2);
  const int64_t whole = NeedsOf(one.options)[0].bytes();
  const std::vector<WorkerNeeds> halves = NeedsOf(two.options);
  REQUIRE(halves.size() == 2);
  CHECK(halves[0].parameters + halves[1].parameters == NeedsOf(one.options)[0].parameters);
  const int64_t limit = whole * 3 / 4;
  REQUIRE(halves[0].bytes() < limit);
  NetOptions net = one.options.NetFor(kBatch);
  const NetPlan without = PlanNet(job.net, net);
  net.next_input = true;  // in memory that is there anyway
  const NetPlan with = PlanNet(job.net, net);
  CHECK(without.next_input_after < 0);
  CHECK(with.next_input_after >= 0);
  CHECK(with.activation_bytes <= without.activation_bytes * 1.01);
  REQUIRE_NOTHROW(CheckDeviceMemory(two.options, limit));
  CHECK_THROWS_WITH(CheckDeviceMemory(one.options, limit),
                    Catch::Contains("with parallel.split=2 a worker needs"));
  CHECK_THROWS_WITH(CheckDeviceMemory(one.options, 1000), Catch::Contains("no split fits"));
}

TEST_CASE("choices that cannot be are refused by name") {
  const std::string net =
      "[{type: conv, channels: 8, name: conv}, {type: max_pool, name: pool}, "
      "{type: linear, units: 0}]";
  const auto plan = [&](const std::string& choice) { Trainer(MakeJob(net, choice), 1, 2); };
  CHECK_THROWS_WITH(plan("[{layer: cnv, split: none}]"),
                    Catch::Contains("no layer or block is named cnv"));
  CHECK_THROWS_WITH(plan("[{layer: conv, split: rows}]"),
                    Catch::Contains("conv: a conv cannot be split by rows"));
  CHECK_THROWS_WITH(plan("[{layer: pool, split: channels}]"),
                    Catch::Contains("it follows its input"));
  CHECK_THROWS_WITH(plan("[{layer: conv, place: 2}]"), Catch::Contains("workers are 0 to 1"));
}

}  // namespace mariana
