#include "common/train/data_parallel.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <set>
#include <thread>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/comm/wire.h"
#include "common/config/config.h"
#include "common/device/formulas.h"
#include "common/train/train_checkpoint.h"
#include "tests/common/train/on_ranks.h"

namespace mariana {
namespace {

constexpr int64_t kInputs = 7, kClasses = 5, kBatch = 26, kLastBatch = 11, kSteps = 50;

// Two clusters of points a class; sample i of step s is a pure function of (s, i).
class Blobs : public BatchSource {
 public:
  explicit Blobs(int64_t last_batch = kLastBatch, Shape input = {kInputs})
      : last_batch_(last_batch), input_(std::move(input)) {}
  int64_t Rows(int64_t step) override { return step % 10 == 9 ? last_batch_ : kBatch; }
  DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) override {
    if (step == fail_step && worker == fail_worker) {
      throw Error(ExitCode::kBadData, "feats.ark: utterance \"u7\": truncated");
    }
    const auto memory = std::make_shared<Samples>();  // lives as long as the tensors
    std::vector<float>& x = memory->x;
    std::vector<int32_t>& y = memory->y;
    const int64_t inputs = input_.elements();
    x.resize(static_cast<size_t>(rows * inputs));
    y.resize(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
      RandomSequence random(99, static_cast<uint64_t>(step * kBatch + begin + r));
      const int64_t label = static_cast<int64_t>(random.Below(kClasses));
      y[static_cast<size_t>(r)] = static_cast<int32_t>(label);
      for (int64_t j = 0; j < inputs; ++j) {
        const float center = ((label >> (j % 3)) & 1) != 0 ? 1.0f : -1.0f;
        float value = center + 0.5f * random.Normal();
        if (step == nan_step && begin + r == 3) value = std::nanf("");
        x[static_cast<size_t>(r * inputs + j)] = value;
      }
    }
    std::vector<int64_t> dims{rows};
    dims.insert(dims.end(), input_.dims().begin(), input_.dims().end());
    return {Tensor(nullptr, Dtype::kF32, Shape(dims), {memory, x.data()}),
            Tensor(nullptr, Dtype::kI32, {rows}, {memory, y.data()})};
  }
  int64_t fail_step = -1, nan_step = -1;
  int fail_worker = 0;

 private:
  struct Samples {
    std::vector<float> x;
    std::vector<int32_t> y;
  };
  int64_t last_batch_;
  Shape input_;  // of one sample
};

struct Job {
  NetSpec net;
  OptimizerSpec optimizer;
  Topology topology = Topology::kLinear;
  int64_t accumulate = 1;
  int64_t bucket_bytes = 1024;  // several buckets even in this small net
  Shape input{kInputs};
  double ema = 0;
  BlockSpec block;
  Wire wire = Wire::kF32;
};

Job MakeJob(const std::string& layers, const std::string& optimizer) {
  Job job;
  LoadConfigText("net:\n  group: 4\n  layers: " + layers + "\noptimizer: " + optimizer + "\n",
                 "test.yaml", ".", {}, [&](Fields* f) {
                   f->Section("net", &job.net, "");
                   f->Section("optimizer", &job.optimizer, "");
                 });
  return job;
}

const char kEverything[] =
    "[{type: linear, units: 24, activation: tanh}, {type: batch_norm}, "
    "{type: dropout, rate: 0.25}, {type: residual, layers: [{type: linear, units: 24, activation: "
    "sigmoid}]}, {type: linear, units: 0}]";

class Trainer {
 public:
  // On each rank, where there are several.
  Trainer(const Job& job, int workers, Ranks* ranks = nullptr) {
    DataParallelOptions o;
    o.ranks = ranks;
    for (int w = 0; w < workers; ++w) {
      devices_.push_back(MakeCpuDevice(w, 1, -1));
      o.devices.push_back(devices_.back().get());
    }
    o.net = &job.net;
    o.input = job.input;
    o.ema = job.ema;
    o.block = job.block;
    o.outputs = kClasses;
    o.batch_size = kBatch;
    o.accumulate = job.accumulate;
    o.seed = 5;
    o.optimizer = job.optimizer;
    o.topology = job.topology;
    o.collect_wire = o.distribute_wire = job.wire;
    o.bucket_bytes = job.bucket_bytes;
    parallel = std::make_unique<DataParallel>(o);
    parallel->Initialize();
  }
  // Losses of steps [first, last).
  std::vector<double> Run(BatchSource* source, int64_t first, int64_t last) {
    std::vector<double> losses;
    RunOptions run;
    run.first_step = first;
    run.last_step = last;
    run.learning_rate = [](int64_t) { return 0.02; };
    run.on_step = [&](const StepResult& r) { losses.push_back(r.loss); };
    parallel->Run(source, run);
    return losses;
  }

 private:
  std::vector<std::unique_ptr<Device>> devices_;

 public:
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

double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{a[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

}  // namespace

TEST_CASE("a batch is dealt out in whole groups whose counts differ by at most one") {
  for (int64_t rows : {0, 1, 5, 26, 256}) {
    for (int64_t group : {0, 1, 4, 7}) {
      for (int workers = 1; workers <= 6; ++workers) {
        int64_t begin = 0;
        std::set<int64_t> groups;
        for (const Share& s : DealOut(rows, group, workers)) {
          REQUIRE(s.begin == begin);
          begin += s.rows;
          const int64_t unit = std::max<int64_t>(group, 1);
          groups.insert((s.rows + unit - 1) / unit);
          if (begin < rows) REQUIRE(s.rows % unit == 0);
        }
        REQUIRE(begin == rows);
        REQUIRE(*groups.rbegin() - *groups.begin() <= 1);
      }
    }
  }
}

TEST_CASE(
    "N workers train what one worker trains, with each optimizer, batch norm, dropout and "
    "clipping") {
  const char* optimizer =
      GENERATE("{type: sgd, momentum: 0.9, clip_norm: 0.5}",
               "{type: sgd, nesterov: true, l2: 0.001}", "{type: adagrad, clip_norm: 1}",
               "{type: adam, l1: 0.0001}", "{type: adamw, weight_decay: 0.01}");
  Job job = MakeJob(kEverything, optimizer);
  Blobs source;
  Trainer one(job, 1);
  const std::vector<double> losses = one.Run(&source, 0, kSteps);
  REQUIRE(losses.size() == kSteps);
  CHECK(losses.back() < 0.8 * losses.front());
  const std::vector<float> reference = Flatten(one.parallel->SaveModel());
  for (Topology topology : {Topology::kLinear, Topology::kRing}) {
    for (int workers = 2; workers <= 6; ++workers) {
      job.topology = topology;
      Trainer many(job, workers);
      many.Run(&source, 0, kSteps);
      INFO(optimizer << " " << Name(topology) << " " << workers);
      CHECK(RelativeDistance(reference, Flatten(many.parallel->SaveModel())) < 1e-4);
      CHECK(RelativeDistance(Flatten(one.parallel->SaveOptimizer()),
                             Flatten(many.parallel->SaveOptimizer())) < 1e-3);
    }
  }
}

// Images of 4 x 3 with 2 channels.
Job MakeImageJob() {
  Job job = MakeJob(
      "[{type: conv, channels: 8, padding: 1, bias: false}, {type: batch_norm}, {type: relu}, "
      "{type: residual, name: block, activation: relu, layers: [{type: conv, channels: 8, padding: "
      "1, bias: false}, {type: batch_norm}]}, {type: max_pool}, {type: dropout, rate: 0.25}, "
      "{type: "
      "linear, units: 0}]",
      "{type: sgd, momentum: 0.9, l2: 0.01, groups: [{match: 'block.*', decay: 0, learning_rate: "
      "0.5}]}");
  job.input = {4, 3, 2};
  job.ema = 0.9;
  return job;
}

TEST_CASE("N workers train what one trains: images, batch norm, dropout, averages of the values") {
  Job job = MakeImageJob();
  Blobs source(kLastBatch, job.input);
  Trainer one(job, 1);
  const std::vector<double> losses = one.Run(&source, 0, kSteps);
  CHECK(losses.back() < 0.8 * losses.front());
  for (int workers : {2, 3, 5}) {
    INFO(workers << " workers");
    Trainer many(job, workers);
    many.Run(&source, 0, kSteps);
    CHECK(RelativeDistance(Flatten(one.parallel->SaveModel()),
                           Flatten(many.parallel->SaveModel())) < 1e-4);
    CHECK(RelativeDistance(Flatten(one.parallel->SaveOptimizer()),
                           Flatten(many.parallel->SaveOptimizer())) < 1e-3);
  }
}

TEST_CASE("with averages, the model is the average of the values, and a resumed run has its bits") {
  Job job = MakeImageJob();
  Blobs source(kLastBatch, job.input);
  Trainer whole(job, 2), stopped(job, 2);
  whole.Run(&source, 0, 20);
  stopped.Run(&source, 0, 12);
  Trainer resumed(job, 2);
  resumed.parallel->LoadModel(stopped.parallel->SaveModel(), "memory");
  resumed.parallel->LoadOptimizer(stopped.parallel->SaveOptimizer(), "memory");
  resumed.parallel->set_steps_done(12);
  resumed.Run(&source, 12, 20);
  const std::vector<float> model = Flatten(whole.parallel->SaveModel());
  CHECK(model == Flatten(resumed.parallel->SaveModel()));
  CHECK(Flatten(whole.parallel->SaveOptimizer()) == Flatten(resumed.parallel->SaveOptimizer()));

  // Averages change no step; they are another model than the values.
  job.ema = 0;
  Trainer plain(job, 2);
  plain.Run(&source, 0, 20);
  const auto of_worker = [&](const Trainer& t, int w) {
    return Flatten(SaveNetValues(t.parallel->net(w)));
  };
  const std::vector<float> values = of_worker(whole, 0);
  CHECK(values == Flatten(plain.parallel->SaveModel()));
  CHECK(RelativeDistance(values, model) > 0.01);
  CHECK(RelativeDistance(values, model) < 0.5);
  int calls = 0;
  whole.parallel->WithAverages([&] {
    ++calls;
    for (int w : {0, 1}) CHECK(of_worker(whole, w) == model);
  });
  CHECK(calls == 1);
  for (int w : {0, 1}) CHECK(of_worker(whole, w) == values);
}

TEST_CASE("a group of parameters that matches none is refused") {
  const Job job = MakeJob("[{type: linear}]", "{groups: [{match: 'conv*'}]}");
  CHECK_THROWS_WITH(Trainer(job, 1), Catch::Contains("conv*") && Catch::Contains("linear1.weight"));
}

TEST_CASE("accumulating a share in parts gives the same step") {
  Job job = MakeJob(kEverything, "{type: sgd}");
  Blobs source;
  Trainer whole(job, 2);
  whole.Run(&source, 0, kSteps);
  job.accumulate = 3;
  Trainer parts(job, 2);
  parts.Run(&source, 0, kSteps);
  CHECK(RelativeDistance(Flatten(whole.parallel->SaveModel()),
                         Flatten(parts.parallel->SaveModel())) < 1e-4);
}

TEST_CASE(
    "the same job gives the same bits, also across save and load on another number of workers") {
  Job job = MakeJob(kEverything, "{type: adam, clip_norm: 1}");
  Blobs source;
  Trainer first(job, 3), second(job, 3);
  first.Run(&source, 0, 20);
  second.Run(&source, 0, 12);
  Trainer third(job, 3);
  third.parallel->LoadModel(second.parallel->SaveModel(), "memory");
  third.parallel->LoadOptimizer(second.parallel->SaveOptimizer(), "memory");
  third.parallel->set_steps_done(12);
  third.Run(&source, 12, 20);
  CHECK(Flatten(first.parallel->SaveModel()) == Flatten(third.parallel->SaveModel()));
  CHECK(Flatten(first.parallel->SaveOptimizer()) == Flatten(third.parallel->SaveOptimizer()));

  Trainer two(job, 2);
  two.parallel->LoadModel(second.parallel->SaveModel(), "memory");
  two.parallel->LoadOptimizer(second.parallel->SaveOptimizer(), "memory");
  two.parallel->set_steps_done(12);
  two.Run(&source, 12, 20);
  CHECK(RelativeDistance(Flatten(first.parallel->SaveModel()), Flatten(two.parallel->SaveModel())) <
        1e-4);
}

TEST_CASE(
    "over a narrow wire all train alike, near fp32's values, and go on from what owners keep") {
  Job job = MakeJob(kEverything, "{type: sgd, momentum: 0.9}");
  Blobs source;
  Trainer fp32(job, 3);
  fp32.Run(&source, 0, 20);
  job.wire = GENERATE(Wire::kBf16, Wire::kF16);
  job.ema = GENERATE(0.0, 0.9);
  CAPTURE(Name(job.wire), job.ema);
  Trainer whole(job, 3), stopped(job, 3), resumed(job, 3);
  const std::vector<double> losses = whole.Run(&source, 0, 20);
  CHECK(losses.back() < losses.front());
  std::vector<float> values(static_cast<size_t>(whole.parallel->net(0)->arena_elements()));
  for (int w = 0; w < 3; ++w) {
    const float* const arena = whole.parallel->net(w)->values();
    if (w == 0) values.assign(arena, arena + values.size());
    CHECK(std::equal(values.begin(), values.end(), arena));
  }
  const auto sent = [&](float v) {
    return job.wire == Wire::kBf16 ? formulas::FromBf16(formulas::ToBf16(v)) : FromF16(ToF16(v));
  };
  for (float v : values) REQUIRE(sent(v) == v);
  const float* const exact = fp32.parallel->net(0)->values();
  const double distance = RelativeDistance({exact, exact + values.size()}, values);
  CHECK(distance > 0);
  CHECK(distance < (job.wire == Wire::kBf16 ? 2e-2 : 3e-3));

  stopped.Run(&source, 0, 12);
  resumed.parallel->LoadModel(stopped.parallel->SaveModel(), "memory");
  resumed.parallel->LoadOptimizer(stopped.parallel->SaveOptimizer(), "memory");
  resumed.parallel->set_steps_done(12);
  resumed.Run(&source, 12, 20);
  CHECK(Flatten(whole.parallel->SaveModel()) == Flatten(resumed.parallel->SaveModel()));
  CHECK(Flatten(whole.parallel->SaveOptimizer()) == Flatten(resumed.parallel->SaveOptimizer()));
}

TEST_CASE("a last batch smaller than the number of workers is trained on") {
  Job job = MakeJob("[{type: linear, units: 8, activation: relu}, {type: linear, units: 0}]",
                    "{type: sgd}");
  Blobs source(2);
  Trainer one(job, 1), five(job, 5);
  one.Run(&source, 0, 20);
  five.Run(&source, 0, 20);
  CHECK(RelativeDistance(Flatten(one.parallel->SaveModel()), Flatten(five.parallel->SaveModel())) <
        1e-4);
}

TEST_CASE("one worker's exception ends the job and names worker and phase") {
  Job job = MakeJob(kEverything, "{type: sgd}");
  Blobs source;
  source.fail_step = 7;
  source.fail_worker = 2;
  Trainer trainer(job, 4);
  try {
    trainer.Run(&source, 0, kSteps);
    FAIL("no exception");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kBadData);
    CHECK(e.message() == "worker 2, data: feats.ark: utterance \"u7\": truncated");
  }
}

TEST_CASE("a NaN is caught before any value is touched, and names step and layer") {
  Job job = MakeJob("[{type: linear, units: 8, activation: tanh}, {type: linear, units: 0}]",
                    "{type: sgd}");
  Blobs source;
  source.nan_step = 6;
  Trainer trainer(job, 2), reference(job, 2);
  try {
    trainer.Run(&source, 0, kSteps);
    FAIL("no exception");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kDiverged);
    CHECK_THAT(e.message(), Catch::StartsWith("step 7 diverged: loss nan; the gradient of "));
  }
  reference.Run(&source, 0, 6);
  CHECK(Flatten(trainer.parallel->SaveModel()) == Flatten(reference.parallel->SaveModel()));
}

TEST_CASE("a requested stop ends the run after a whole step on every worker") {
  Job job = MakeJob(kEverything, "{type: sgd}");
  Blobs source;
  Trainer trainer(job, 3), reference(job, 3);
  std::atomic<int64_t> seen{0};
  RunOptions run;
  run.last_step = kSteps;
  run.learning_rate = [](int64_t) { return 0.02; };
  run.on_step = [&](const StepResult& r) { seen = r.step + 1; };
  run.stop_requested = [&] { return seen >= 9; };  // seen on worker 0's thread or later
  const int64_t done = trainer.parallel->Run(&source, run);
  CHECK(done >= 9);
  CHECK(done < kSteps);
  reference.Run(&source, 0, done);
  CHECK(Flatten(trainer.parallel->SaveModel()) == Flatten(reference.parallel->SaveModel()));
}

TEST_CASE("each link carries what the formula says") {
  Job job = MakeJob(kEverything, "{type: sgd}");
  for (Topology topology : {Topology::kLinear, Topology::kRing}) {
    job.topology = topology;
    Blobs source;
    Trainer trainer(job, 4);
    const auto before = trainer.parallel->Traffic();
    trainer.Run(&source, 0, 10);
    int64_t total = 0;
    for (const LinkBytes& link : trainer.parallel->Traffic()) total += link.collect;
    CHECK(before.size() == trainer.parallel->Traffic().size());
    // Each of the 3 links of a chain carries M bytes each way per step; half of it in collect.
    const Net* net = trainer.parallel->net(0);
    CHECK(total == 10 * 3 * net->arena_elements() * 4);
  }
}

TEST_CASE("workers on several ranks have the bits of as many on one, also of the averages") {
  const bool images = GENERATE(true, false);
  Job job = images ? MakeImageJob() : MakeJob(kEverything, "{type: adam, clip_norm: 1}");
  job.topology = GENERATE(Topology::kLinear, Topology::kRing);
  Blobs source(kLastBatch, job.input);
  Trainer together(job, 4);
  together.Run(&source, 0, 12);
  const std::vector<float> model = Flatten(together.parallel->SaveModel());
  const std::vector<float> optimizer = Flatten(together.parallel->SaveOptimizer());
  for (int n : {2, 4}) {
    std::vector<std::vector<float>> models(static_cast<size_t>(n)), states = models;
    OnRanks(n, [&](Ranks* ranks) {
      Blobs own(kLastBatch, job.input);
      std::vector<HostTensor> saved, slots;
      {
        Trainer part(job, 4 / n, ranks);
        part.Run(&own, 0, 7);
        saved = part.parallel->SaveModel();
        const auto mine = part.parallel->SaveOptimizer();
        slots = TensorsFromFirst(ranks, [&] { return mine; });
      }
      Trainer resumed(job, 4 / n, ranks);
      resumed.parallel->LoadModel(saved, "memory");
      resumed.parallel->LoadOptimizer(slots, "memory");
      resumed.parallel->set_steps_done(7);
      resumed.Run(&own, 7, 12);
      const auto r = static_cast<size_t>(ranks->rank());
      models[r] = Flatten(resumed.parallel->SaveModel());
      states[r] = Flatten(resumed.parallel->SaveOptimizer());
    });
    for (const auto& m : models) CHECK(m == model);
    CHECK(states[0] == optimizer);
  }
}

namespace {

const char kSmall[] =
    "[{type: linear, units: 24, activation: tanh}, {type: batch_norm}, {type: linear, units: 0}]";

// The share of one worker, as if that were the batch.
class OneShare : public BatchSource {
 public:
  OneShare(BatchSource* all, int worker, int workers)
      : all_(all), worker_(worker), workers_(workers) {}
  Share Of(int64_t step) {
    return DealOut(all_->Rows(step), 4, workers_)[static_cast<size_t>(worker_)];
  }
  int64_t Rows(int64_t step) override { return Of(step).rows; }
  DeviceBatch Take(int, int64_t step, int64_t begin, int64_t rows) override {
    return all_->Take(0, step, Of(step).begin + begin, rows);
  }

 private:
  BatchSource* all_;
  int worker_, workers_;
};

// Blockwise model-update filtering as Chen and Huo write it, worker by worker: steps [0, last).
std::vector<float> FilteredBlocks(const Job& job, const BlockSpec& block, int workers,
                                  int64_t last) {
  Blobs source;
  Trainer worker(job, 1);
  auto shape = worker.parallel->SaveModel();  // tensors to carry values in
  auto zeros = worker.parallel->SaveOptimizer();
  const size_t parameters = zeros.size();
  std::vector<float> global = Flatten(shape), delta(global.size(), 0.0f);
  size_t trained = 0;  // values before the running averages
  for (size_t i = 0; i < parameters; ++i) trained += static_cast<size_t>(shape[i].shape.elements());
  for (int64_t begin = 0; begin < last;) {
    const int64_t end = std::min((begin / block.steps + 1) * block.steps, last);
    std::vector<double> mean(global.size(), 0.0);
    int64_t all_rows = 0;
    for (int64_t s = begin; s < end; ++s) all_rows += source.Rows(s);
    for (int w = 0; w < workers; ++w) {
      OneShare share(&source, w, workers);
      size_t at = 0;
      for (HostTensor& t : shape) {
        std::copy_n(global.begin() + static_cast<ptrdiff_t>(at), t.shape.elements(), t.f32());
        at += static_cast<size_t>(t.shape.elements());
      }
      worker.parallel->LoadModel(shape, "memory");
      worker.parallel->LoadOptimizer(zeros, "memory");
      worker.Run(&share, begin, end);
      int64_t rows = 0;
      for (int64_t s = begin; s < end; ++s) rows += share.Rows(s);
      const std::vector<float> local = Flatten(worker.parallel->SaveModel());
      for (size_t i = 0; i < mean.size(); ++i) {
        mean[i] += static_cast<double>(rows) / static_cast<double>(all_rows) * local[i];
      }
    }
    const auto momentum = static_cast<float>(block.momentum);
    for (size_t i = 0; i < global.size(); ++i) {
      if (i >= trained) {
        global[i] = static_cast<float>(mean[i]);
        continue;
      }
      // W_g(t - 1) is where the block began: W(t - 1), and momentum * delta beyond it (Nesterov).
      const auto step = static_cast<float>(mean[i] - global[i]);
      const float before = block.nesterov ? momentum * delta[i] : 0.0f;
      delta[i] = momentum * delta[i] + step;
      const float filtered = global[i] - before + delta[i];
      global[i] = filtered + (block.nesterov ? momentum * delta[i] : 0.0f);
    }
    begin = end;
  }
  return global;
}

}  // namespace

TEST_CASE("blocks of steps are local SGD and blockwise model-update filtering, on any ranks") {
  Job job = MakeJob(kSmall, "{type: sgd, momentum: 0.9}");
  const BlockSpec block =
      GENERATE(BlockSpec{4, 0, false}, BlockSpec{4, 0.6, false}, BlockSpec{3, 0.6, true});
  INFO(block.steps << " " << block.momentum << " " << block.nesterov);
  const std::vector<float> reference = FilteredBlocks(job, block, 3, 22);
  job.block = block;
  Blobs source;
  Trainer trainer(job, 3);
  trainer.Run(&source, 0, 22);
  const std::vector<float> model = Flatten(trainer.parallel->SaveModel());
  CHECK(RelativeDistance(reference, model) < 1e-5);

  std::vector<std::vector<float>> models(3);
  OnRanks(3, [&](Ranks* ranks) {
    Blobs own;
    std::vector<HostTensor> saved, slots;
    {
      Trainer part(job, 1, ranks);
      part.Run(&own, 0, 12);
      saved = part.parallel->SaveModel();
      const auto mine = part.parallel->SaveOptimizer();
      slots = TensorsFromFirst(ranks, [&] { return mine; });
    }
    Trainer resumed(job, 1, ranks);
    resumed.parallel->LoadModel(saved, "memory");
    resumed.parallel->LoadOptimizer(slots, "memory");
    resumed.parallel->set_steps_done(12);
    resumed.Run(&own, 12, 22);
    models[static_cast<size_t>(ranks->rank())] = Flatten(resumed.parallel->SaveModel());
  });
  for (const auto& m : models) CHECK(m == model);
}

TEST_CASE("a block of one step without momenta is the step itself") {
  Job job = MakeJob(
      "[{type: linear, units: 24, activation: tanh}, {type: dropout, rate: 0.25}, "
      "{type: linear, units: 0}]",
      "{type: sgd, momentum: 0}");
  Blobs source;
  Trainer every(job, 3);
  every.Run(&source, 0, kSteps);
  job.block.steps = 1;
  Trainer blocks(job, 3);
  const std::vector<double> losses = blocks.Run(&source, 0, kSteps);
  CHECK(losses.size() == kSteps);
  CHECK(RelativeDistance(Flatten(every.parallel->SaveModel()),
                         Flatten(blocks.parallel->SaveModel())) < 1e-5);
}

TEST_CASE("a block that diverges ends the run with the values of before it") {
  Job job = MakeJob(kSmall, "{type: sgd}");
  job.block.steps = 4;
  Blobs source;
  source.nan_step = 6;
  Trainer trainer(job, 2), reference(job, 2);
  CHECK_THROWS_WITH(trainer.Run(&source, 0, kSteps),
                    Catch::StartsWith("the block that ends with step 8 diverged: loss nan"));
  reference.Run(&source, 0, 4);
  const auto values = [](const Trainer& t) {
    auto all = t.parallel->SaveModel();
    all.resize(t.parallel->net(0)->params().size());  // running averages have seen the NaN
    return Flatten(all);
  };
  CHECK(values(trainer) == values(reference));
}

}  // namespace mariana
