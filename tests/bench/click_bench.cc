// click_bench [--bits N] [MODEL...]: CPU nanoseconds a row, on one core, of each stage of a step of
// click models: prepare (distinct keys), gather (and locate), forward, loss, backward, apply, and
// the dense update; on rows shaped like Criteo's (13 numbers, 26 categories of 100 to 10^6 values,
// Zipf-distributed), in batches of 64 to 1024. The least of some rounds, which other processes
// disturb less.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/data/rows/key_hash.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/table/table.h"

namespace mariana {
namespace {

constexpr int64_t kRows = 1 << 16, kRounds = 9;
constexpr int kNumbers = 13, kCategories = 26;

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// What the machine does while nobody else uses its caches.
double Least(const std::vector<double>& v) { return *std::min_element(v.begin(), v.end()); }

// Numbers are sparse features with a value, or dense columns for nets.
RowPlan CriteoPlan(bool dense) {
  RowSpec spec;
  for (int f = 0; f < kNumbers + kCategories; ++f) {
    RowFieldSpec field;
    field.name = f < kNumbers ? StrCat("I", f + 1) : StrCat("C", f - kNumbers + 1);
    field.kind = f < kNumbers ? RowFieldKind::kNumeric : RowFieldKind::kCategorical;
    field.dense = dense;
    field.value = f < kNumbers && !dense;
    spec.fields.push_back(field);
  }
  return RowPlan(spec);
}

// Zipf's law with exponent 1.2, cut at `size`, beyond it even.
uint64_t Draw(RandomSequence* random, double size) {
  const double v = std::pow(1.0 - random->Uniform() * 0.999999, -5.0) - 1;
  return static_cast<uint64_t>(v < size ? v : random->Uniform() * size);
}

RowBatch MakeRows(const RowPlan& plan, int64_t rows, uint64_t seed) {
  RandomSequence random(seed, 1);
  RowBatch batch;
  batch.rows = rows;
  batch.dense_columns = plan.dense_columns();
  batch.begin.push_back(0);
  for (int64_t r = 0; r < rows; ++r) {
    batch.label.push_back(random.Below(4) == 0 ? 1.0f : 0.0f);
    batch.weight.push_back(1);
    for (int f = 0; f < kNumbers + kCategories; ++f) {
      const FieldPlan& field = plan.fields()[f];
      const bool number = f < kNumbers;
      const float x = number ? std::log1p(20 * random.Uniform()) : 1;
      if (field.dense_column >= 0 && number) batch.dense.push_back(x);
      if (number && !field.value) continue;
      const double size = std::pow(10.0, 2 + 4.0 * (f - kNumbers) / (kCategories - 1));
      const uint64_t value = number ? 0 : Draw(&random, size);
      batch.key.push_back(MakeKey(field.seed, HashNumber(value)));
      batch.field.push_back(static_cast<uint16_t>(f));
      batch.value.push_back(x);
    }
    batch.begin.push_back(static_cast<uint32_t>(batch.key.size()));
  }
  return batch;
}

enum Stage { kPrepare, kGather, kForward, kLoss, kBackward, kApply, kDense, kStages };
const char* const kNames[kStages] = {"prepare",  "gather", "forward", "loss",
                                     "backward", "apply",  "dense"};

// One step; seconds by stage are added.
class Trainer {
 public:
  Trainer(ClickModel* model, Device* device) : model_(model), device_(device) {
    for (const ClickTable& t : model->tables()) {
      tables_.push_back(std::make_unique<Table>(std::vector<std::shared_ptr<TableShard>>{
          std::make_shared<TableShard>(TableShard::Create(t.spec, 0, 1))}));
    }
  }

  void Step(ClickBatch* batch, double* seconds) {
    double last = CpuSeconds();
    const auto mark = [&](Stage stage) {
      const double now = CpuSeconds();
      seconds[stage] += now - last;
      last = now;
    };
    model_->Prepare(batch);
    mark(kPrepare);
    for (size_t i = 0; i < tables_.size(); ++i) Gather(tables_[i].get(), &batch->tables[i]);
    mark(kGather);
    StepContext step;
    model_->Forward(step, batch);
    mark(kForward);
    gradients_.resize(batch->logits.size());
    ClickLossOf(ClickLoss::kLogistic, batch->rows, batch->logits.data(), gradients_.data());
    mark(kLoss);
    model_->Backward(step, batch, gradients_.data());
    mark(kBackward);
    for (size_t i = 0; i < tables_.size(); ++i) {
      const TableBatch& t = batch->tables[i];
      tables_[i]->Apply(t.rows.data(), static_cast<int64_t>(t.rows.size()), t.gradients.data());
    }
    mark(kApply);
    if (Net* net = model_->net()) Dense(net, 1.0f / static_cast<float>(batch->rows.rows));
    mark(kDense);
  }

 private:
  static void Gather(Table* table, TableBatch* t) {
    t->rows.resize(t->keys.size());
    t->values.resize(t->keys.size() * static_cast<size_t>(table->width()));
    const auto n = static_cast<int64_t>(t->keys.size());
    table->Locate(t->keys.data(), n, Missing::kInsert, t->rows.data());
    table->Gather(t->rows.data(), n, t->values.data());
  }

  void Dense(Net* net, float scale) {
    if (sums_.empty()) sums_ = Tensor(device_, Dtype::kF32, Shape{net->arena_elements()});
    OptimizerStep step;
    step.kind = OptimizerKind::kAdaGrad;
    step.learning_rate = 0.01f;
    step.gradient_scale = scale;
    step.epsilon = 1e-8f;
    device_->Update(step, net->grads(), net->values(), net->values16(), sums_.f32(), nullptr,
                    net->arena_elements());
  }

  ClickModel* const model_;
  Device* const device_;
  std::vector<std::unique_ptr<Table>> tables_;
  std::vector<float> gradients_;
  Tensor sums_;
};

void Bench(const std::string& name, const ClickModelSpec& spec, const NetSpec& net, Dtype compute,
           int64_t batch_rows) {
  const RowPlan plan = CriteoPlan(spec.has("net"));
  const std::unique_ptr<Device> device = MakeCpuDevice(0, 1, -1);
  ClickModel::Options options;
  options.device = device.get();
  options.max_rows = batch_rows;
  options.compute = compute;
  ClickModel model(spec, net, plan, options);
  Trainer trainer(&model, device.get());
  const int64_t batches = (spec.has("net") ? kRows / 8 : kRows) / batch_rows;
  std::vector<ClickBatch> batch(static_cast<size_t>(batches));
  double features = 0, keys = 0;
  for (int64_t b = 0; b < batches; ++b) {
    batch[b].rows = MakeRows(plan, batch_rows, static_cast<uint64_t>(b) + 1);
    double unused[kStages] = {};
    trainer.Step(&batch[b], unused);
    for (const TableBatch& t : batch[b].tables) {
      features += static_cast<double>(t.index.size());
      keys += static_cast<double>(t.keys.size());
    }
    batch[b].tables.clear();
  }
  std::vector<double> by_stage[kStages], totals;
  ClickBatch work;  // its memory is used again, as a trainer does
  for (int64_t round = 0; round < kRounds; ++round) {
    double seconds[kStages] = {}, total = 0;
    for (const ClickBatch& b : batch) {
      work.rows = b.rows;
      trainer.Step(&work, seconds);
    }
    const double rows = static_cast<double>(batches * batch_rows);
    for (int s = 0; s < kStages; ++s) {
      by_stage[s].push_back(1e9 * seconds[s] / rows);
      total += 1e9 * seconds[s] / rows;
    }
    totals.push_back(total);
  }
  std::printf("%s, batch %lld (%.0f%% of features distinct): %.0f ns a row, %.0f rows/s:",
              name.c_str(), static_cast<long long>(batch_rows), 100 * keys / features,
              Least(totals), 1e9 / Least(totals));
  for (int s = 0; s < kStages; ++s) std::printf(" %s %.0f", kNames[s], Least(by_stage[s]));
  std::printf("\n");
  std::fflush(stdout);
}

NetSpec ReadNet(const std::string& yaml) {
  NetSpec net;
  LoadConfigText(yaml, "click_bench", ".", {}, [&](Fields* f) { net.Describe(f); });
  return net;
}

int Main(int argc, char** argv) {
  int64_t bits = 22;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--bits" && i + 1 < argc) {
      bits = std::atoi(argv[++i]);
    } else {
      wanted.push_back(arg);
    }
  }
  const std::string linear = "- {type: linear, units: 400, activation: relu}\n";
  const std::string deep = "layers:\n" + linear + linear + linear + "- {type: linear, units: 0}\n";
  const auto bench = [&](const std::string& name, const std::vector<std::string>& terms,
                         Dtype compute = Dtype::kF32) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) return;
    ClickModelSpec spec;
    spec.terms = terms;
    spec.rows.bits = spec.has("ffm") ? std::min<int64_t>(bits, 18) : bits;
    spec.embedding.size = spec.has("net") ? 16 : 8;
    for (const int64_t rows : {64, 256, 1024}) {
      Bench(name, spec, spec.has("net") ? ReadNet(deep) : NetSpec(), compute, rows);
    }
  };
  bench("lr", {"linear"});
  bench("fm", {"linear", "fm"});
  bench("ffm", {"linear", "ffm"});
  bench("deepfm", {"linear", "fm", "net"});
  bench("deepfm_bf16", {"linear", "fm", "net"}, Dtype::kBF16);
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
