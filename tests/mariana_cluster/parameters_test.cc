// Parameters that processes share: dense ones under locks, ordered updates as sections.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

#include "common/config/config.h"
#include "mariana_cluster/block_update.h"
#include "mariana_cluster/run_progress.h"
#include "mariana_cluster/sparse_samples.h"

namespace mariana {
namespace {

// Three layers of some 50,000 parameters: several slices.
std::unique_ptr<Net> MakeNet(Device* device) {
  NetSpec spec;
  LoadConfigText(
      "layers: [{type: linear, units: 200}, {type: linear, units: 200}, {type: linear, units: 1}]",
      "net", ".", {}, [&](Fields* f) { spec.Describe(f); });
  NetOptions options;
  options.device = device;
  options.max_rows = 1;
  options.input = {40};
  auto net = Net::Build(spec, options);
  net->Initialize(3);
  return net;
}

OptimizerSpec Sgd() {
  OptimizerSpec spec;
  spec.momentum = 0;
  return spec;
}

void FillGradients(Net* net, float value) {
  std::fill_n(net->grads(), net->arena_elements(), value);
}

std::vector<float> ValuesOf(const float* values, int64_t n) { return {values, values + n}; }

TEST_CASE("two workers at once lose no update, and leave with fresh values") {
  const auto device = MakeCpuDevice(0, 1, -1);
  constexpr int kSteps = 300;
  const int64_t n = MakeNet(device.get())->arena_elements();
  DenseParameters shared = DenseParameters::Create(n, 0);
  REQUIRE(shared.slices() > 2);
  float last[2] = {};  // what each worker leaves with
  const auto work = [&](int worker) {
    const auto mine = MakeCpuDevice(worker, 1, -1);
    const std::unique_ptr<Net> net = MakeNet(mine.get());
    DenseParameters view = DenseParameters::Attach(dup(shared.fd()));
    DenseStep step(&view, net->plan(), Sgd(), mine.get());
    FillGradients(net.get(), -1);
    for (int t = 0; t < kSteps; ++t) step.Update({1, t + 1, 1}, worker, net.get());
    last[worker] = net->values()[0];
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  CHECK((last[0] >= kSteps && last[1] >= kSteps));
  const std::unique_ptr<Net> net = MakeNet(device.get());
  DenseStep(&shared, net->plan(), Sgd(), device.get()).Pull(net.get());
  for (const ParamInfo& p : net->params()) {
    CHECK(net->values()[p.offset] == 2 * kSteps);
    CHECK(net->values()[p.offset + p.shape.elements() - 1] == 2 * kSteps);
  }
}

TEST_CASE("one worker trains as if the shared values were its own") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::unique_ptr<Net> net = MakeNet(device.get()), plain = MakeNet(device.get());
  const int64_t n = net->arena_elements();
  OptimizerSpec adam;
  adam.type = OptimizerType::kAdam;
  adam.l2 = 0.01;
  adam.groups.push_back({"linear2.*", {0, 0.5}});
  DenseParameters shared = DenseParameters::Create(n, OptimizerSlots(adam));
  std::copy_n(net->values(), n, shared.values());
  DenseStep step(&shared, net->plan(), adam, device.get());
  std::vector<float> m(static_cast<size_t>(n)), v(m);
  for (int64_t t = 1; t <= 3; ++t) {
    for (int64_t i = 0; i < n; ++i) net->grads()[i] = static_cast<float>((i * t) % 7) - 3;
    step.Update({0.1, t, 0.5}, t, net.get());
    for (const ParamInfo& p : plain->params()) {
      device->Update(MakeOptimizerStep(adam, 0.1, t, 0.5, FactorsOf(adam, p.name, p.decay)),
                     net->grads() + p.offset, plain->values() + p.offset, nullptr,
                     &m[static_cast<size_t>(p.offset)], &v[static_cast<size_t>(p.offset)],
                     p.elements);
    }
  }
  CHECK(ValuesOf(net->values(), n) == ValuesOf(plain->values(), n));
  CHECK(ValuesOf(shared.slot(1), n) == v);
}

TableSpec LinearTable() {
  TableSpec spec;
  spec.name = "linear";
  spec.bits = 10;
  PartSpec part{"linear", 1, {}, 0};
  part.optimizer.type = RowOptimizer::kSgd;
  part.optimizer.learning_rate = 1;
  spec.parts = {part};
  return spec;
}

std::vector<std::shared_ptr<TableShard>> MakeShards(int servers) {
  std::vector<std::shared_ptr<TableShard>> shards;
  for (int s = 0; s < servers; ++s) {
    shards.push_back(std::make_shared<TableShard>(TableShard::Create(LinearTable(), s, servers)));
  }
  return shards;
}

ClickBatch BatchOf(const std::vector<uint64_t>& keys) {
  ClickBatch batch;
  batch.tables.resize(1);
  batch.tables[0].keys = keys;
  for (size_t i = 0; i < keys.size(); ++i) {
    batch.tables[0].gradients.push_back(-1 - static_cast<float>(i));
  }
  return batch;
}

TEST_CASE("sections of a block reach the rows and slices of each server") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::unique_ptr<Net> net = MakeNet(device.get());
  FillGradients(net.get(), -2);
  std::vector<uint64_t> keys;
  for (uint64_t k = 1; k < 1000; k += 37) keys.push_back(k << 54);
  const ClickBatch batch = BatchOf(keys);
  std::vector<std::vector<float>> dense, sparse;
  for (const int servers : {1, 3}) {
    const auto shards = MakeShards(servers);
    std::vector<Table> tables;
    tables.emplace_back(shards);
    DenseParameters shared = DenseParameters::Create(net->arena_elements(), 0);
    DenseStep step(&shared, net->plan(), Sgd(), device.get());
    BlockUpdate update(servers);
    update.Set({0.25}, batch, tables, &shared, net->grads());
    for (int s = 0; s < servers; ++s) {
      BlockApplier applier(s, servers, {shards[static_cast<size_t>(s)]}, &shared, &step);
      CHECK(applier.Apply(update.sections()[static_cast<size_t>(s)], {1, 1, 1}, 1));
    }
    dense.push_back(ValuesOf(shared.values(), shared.elements()));
    std::vector<char*> rows(keys.size());
    sparse.emplace_back(keys.size());
    tables[0].Locate(keys.data(), static_cast<int64_t>(keys.size()), Missing::kSkip, rows.data());
    tables[0].Gather(rows.data(), static_cast<int64_t>(keys.size()), sparse.back().data());
    update.Clear();
    BlockApplier applier(0, servers, {shards[0]}, &shared, &step);
    CHECK_FALSE(applier.Apply(update.sections()[0], {1, 1, 1}, 1));
  }
  CHECK(dense[0][0] == 0.5f);
  CHECK(dense[0] == dense[1]);
  CHECK(sparse[0][3] == 4);
  CHECK(sparse[0] == sparse[1]);
}

TEST_CASE("a batch split into samples reads and updates the same rows, one by one") {
  std::vector<Table> tables;
  tables.emplace_back(MakeShards(1));
  const uint64_t bias = uint64_t{7} << 54, a = uint64_t{9} << 54, b = uint64_t{11} << 54;
  ClickBatch batch;
  batch.rows.rows = 2;
  batch.rows.begin = {0, 2, 3};
  batch.tables.resize(1);
  batch.tables[0].keys = {bias, a, b};
  batch.tables[0].index = {1, 2, 1};
  SplitIntoSamples(&batch);
  CHECK(batch.tables[0].keys == std::vector<uint64_t>{bias, a, b, a});
  CHECK(batch.tables[0].index == std::vector<uint32_t>{1, 2, 3});
  GatherBySample(Missing::kInsert, &tables, &batch);
  batch.tables[0].gradients = {-1, -2, -3, -4};
  ApplyBySample(1, &tables, &batch);
  GatherBySample(Missing::kInsert, &tables, &batch);
  CHECK(batch.tables[0].values == std::vector<float>{1, 6, 3, 6});
}

TEST_CASE("the locks of a killed process are released, and only those") {
  DenseParameters shared = DenseParameters::Create(3 * DenseParameters::kSliceElements, 0);
  const pid_t victim = fork();
  REQUIRE(victim >= 0);
  if (victim == 0) {
    shared.Lock(1);
    pause();
    _exit(0);
  }
  shared.Lock(2);
  kill(victim, SIGKILL);
  int status;
  REQUIRE(waitpid(victim, &status, 0) == victim);
  CHECK(shared.ReleaseOf(victim) <= 1);  // it may have died before it locked
  shared.Lock(1);
  CHECK(shared.ReleaseOf(getpid()) == 2);
}

TEST_CASE("steps are numbered across processes and end at the limit") {
  RunProgress progress = RunProgress::Create(2, 2), other = RunProgress::Attach(dup(progress.fd()));
  progress.SetSteps(5);
  progress.SetLimit(7);
  int64_t a = 0, b = 0, c = 0;
  CHECK((progress.TakeStep(&a) && other.TakeStep(&b)));
  CHECK((a == 5 && b == 6));
  CHECK_FALSE(progress.TakeStep(&c));
  CHECK(other.AtLimit());
  progress.SetSteps(11, 3);  // another node has 10, 13 ..., a third 12, 15 ...
  progress.SetLimit(11 + 2 * 3);
  CHECK((progress.TakeStep(&a) && other.TakeStep(&b) && !progress.TakeStep(&c)));
  CHECK((a == 11 && b == 14));
  progress.Count(0, 64, 1.5, 64);
  other.Count(1, 32, 0.5, 16);
  const RunProgress::Totals t = progress.totals();
  CHECK((t.steps == 2 && t.samples == 96 && t.loss == 2 && t.weight == 80));
  CHECK_FALSE(progress.LanesEnded(100));
  progress.SetLaneEnd(0, 3);
  other.SetLaneEnd(1, 4);
  CHECK_FALSE(progress.LanesEnded(3));
  CHECK(progress.LanesEnded(4));
}

}  // namespace
}  // namespace mariana
