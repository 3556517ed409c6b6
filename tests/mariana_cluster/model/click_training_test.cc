// Models with a net, and whole training steps through tables, against PyTorch's
// (scripts/golden/clicks.py).
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/optim/optimizer.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/table/table.h"
#include "tests/mariana_cluster/model/click_rig.h"

namespace mariana {
namespace {

using Json = nlohmann::json;

NetSpec ReadNet(const std::string& yaml) {
  NetSpec spec;
  if (yaml.empty()) return spec;
  LoadConfigText(yaml, "net.yaml", ".", {}, [&](Fields* f) { spec.Describe(f); });
  return spec;
}

std::vector<float> ParamOf(Net* net, const float* arena, const ParamInfo& p, int i) {
  std::vector<float> plain(static_cast<size_t>(p.shape.elements()));
  net->UnpackParam(i, arena + p.offset, plain.data());
  return plain;
}

// A model and all that trains it.
class Trainer {
 public:
  Trainer(const ClickModelSpec& spec, const std::string& net, int64_t max_rows,
          Dtype compute = Dtype::kF32)
      : device_(MakeCpuDevice(0, 1, -1)) {
    ClickModel::Options options;
    options.device = device_.get();
    options.max_rows = max_rows;
    options.compute = compute;
    model_ = std::make_unique<ClickModel>(spec, ReadNet(net), TestPlan(), options);
    for (const ClickTable& t : model_->tables()) {
      tables_.push_back(std::make_unique<Table>(std::vector<std::shared_ptr<TableShard>>{
          std::make_shared<TableShard>(TableShard::Create(t.spec, 0, 2)),
          std::make_shared<TableShard>(TableShard::Create(t.spec, 1, 2))}));
    }
  }

  ClickModel* model() { return model_.get(); }
  Device* device() { return device_.get(); }

  void Gather(ClickBatch* batch) {
    model_->Prepare(batch);
    for (size_t i = 0; i < tables_.size(); ++i) {
      TableBatch& t = batch->tables[i];
      const auto n = static_cast<int64_t>(t.keys.size());
      t.rows.resize(t.keys.size());
      t.values.resize(t.keys.size() * static_cast<size_t>(tables_[i]->width()));
      tables_[i]->Locate(t.keys.data(), n, Missing::kInsert, t.rows.data());
      tables_[i]->Gather(t.rows.data(), n, t.values.data());
    }
  }

  // Returns the loss before the step.
  double Step(ClickBatch* batch, float dense_rate) {
    Gather(batch);
    const StepContext step;
    model_->Forward(step, batch);
    std::vector<float> g(batch->logits.size());
    const double loss =
        ClickLossOf(ClickLoss::kLogistic, batch->rows, batch->logits.data(), g.data());
    model_->Backward(step, batch, g.data());
    for (size_t i = 0; i < tables_.size(); ++i) {
      const TableBatch& t = batch->tables[i];
      tables_[i]->Apply(t.rows.data(), static_cast<int64_t>(t.rows.size()), t.gradients.data());
    }
    Net* net = model_->net();
    if (net == nullptr) return loss;
    OptimizerStep sgd;
    sgd.learning_rate = dense_rate;
    sgd.gradient_scale = 1.0f / std::max(1.0f, static_cast<float>(batch->rows.rows));
    device_->Update(sgd, net->grads(), net->values(), net->values16(), nullptr, nullptr,
                    net->arena_elements());
    return loss;
  }

  void Put(size_t table, uint64_t key, const std::vector<float>& values) {
    TableShard* shard = tables_[table]->shard(TableShard::ShardOf(key, 2));
    shard->Put(key, values.data(), nullptr, 1);
  }
  std::vector<float> Weights(size_t table, uint64_t key) {
    std::vector<float> values(static_cast<size_t>(tables_[table]->width()));
    char* row = nullptr;
    tables_[table]->Locate(&key, 1, Missing::kSkip, &row);
    REQUIRE(row != nullptr);
    tables_[table]->Gather(&row, 1, values.data());
    return values;
  }

 private:
  std::unique_ptr<Device> device_;
  std::unique_ptr<ClickModel> model_;
  std::vector<std::unique_ptr<Table>> tables_;
};

ClickBatch RowsOf(const Json& rows) {
  ClickBatch batch;
  RowBatch& b = batch.rows;
  b.dense_columns = 2;
  b.begin.push_back(0);
  for (const Json& row : rows) {
    ++b.rows;
    b.label.push_back(row["label"]);
    b.weight.push_back(row["weight"]);
    for (const Json& feature : row["features"]) {
      b.field.push_back(feature[0]);
      b.key.push_back(TestKey(feature[0], feature[1]));
      b.value.push_back(feature[2]);
    }
    b.begin.push_back(static_cast<uint32_t>(b.key.size()));
    for (const float x : row["dense"]) b.dense.push_back(x);
  }
  return batch;
}

ClickModelSpec GoldenSpec(const Json& golden, const Json& c) {
  ClickModelSpec spec;
  spec.terms = c["terms"].get<std::vector<std::string>>();
  spec.rows.form = TableForm::kKeyed;
  spec.rows.max_rows = 1 << 12;
  spec.embedding.size = spec.factors.size = golden["size"];
  spec.embedding.optimizer.learning_rate = spec.factors.optimizer.learning_rate = 0.05;
  spec.linear.optimizer.learning_rate = golden["ftrl"]["alpha"];
  spec.linear.optimizer.beta = golden["ftrl"]["beta"];
  spec.linear.optimizer.l1 = golden["ftrl"]["l1"];
  spec.linear.optimizer.l2 = golden["ftrl"]["l2"];
  return spec;
}

// f(number of the feature, its table, its key) for the features that have a row.
template <class F>
void EachFeature(const Json& golden, const ClickModel& model, const F& f) {
  for (size_t i = 0; i < golden["features"].size(); ++i) {
    const int field = golden["features"][i][0];
    const uint64_t value = golden["features"][i][1];
    for (size_t t = 0; t < model.tables().size(); ++t) {
      const std::vector<uint16_t>& fields = model.tables()[t].fields;
      if (std::count(fields.begin(), fields.end(), field) > 0) f(i, t, TestKey(field, value));
    }
  }
}

// Where the vectors of a table's rows begin, and how long they are together; 0: none.
std::pair<int64_t, int64_t> VectorsOf(const ClickTable& t) {
  if (t.factors >= 0) return {t.factors, t.spec.parts.back().width};
  return {t.embedding, t.embedding_size};
}

void PutWeights(const Json& golden, const Json& c, Trainer* trainer) {
  EachFeature(golden, *trainer->model(), [&](size_t i, size_t t, uint64_t key) {
    const ClickTable& table = trainer->model()->tables()[t];
    std::vector<float> values(static_cast<size_t>(table.spec.width()));
    const auto [at, size] = VectorsOf(table);
    const Json& from = golden[table.factors >= 0 ? "factors" : "embeddings"];
    for (int64_t j = 0; j < size; ++j) values[at + j] = from[i * size + j];
    trainer->Put(t, key, values);
  });
  Net* net = trainer->model()->net();
  if (net == nullptr) return;
  for (size_t i = 0; i < net->params().size(); ++i) {
    const ParamInfo& p = net->params()[i];
    const auto plain = c["params"].at(p.name).get<std::vector<float>>();
    net->PackParam(static_cast<int>(i), plain.data(), net->values() + p.offset);
  }
}

void CheckWeights(const Json& golden, const Json& c, Trainer* trainer) {
  double worst = 0;
  EachFeature(golden, *trainer->model(), [&](size_t i, size_t t, uint64_t key) {
    const ClickTable& table = trainer->model()->tables()[t];
    const std::vector<float> values = trainer->Weights(t, key);
    const auto compare = [&](float value, const Json& expected) {
      worst = std::max(worst, std::abs(value - expected.get<double>()));
    };
    if (table.linear >= 0) compare(values[table.linear], c["linear"][i]);
    const auto [at, size] = VectorsOf(table);
    for (int64_t j = 0; j < size; ++j) compare(values[at + j], c["vectors"][i * size + j]);
  });
  CHECK(worst < 2e-5);
  Net* net = trainer->model()->net();
  for (size_t i = 0; net != nullptr && i < net->params().size(); ++i) {
    const ParamInfo& p = net->params()[i];
    const std::vector<float> got = ParamOf(net, net->values(), p, static_cast<int>(i));
    const auto expected = c["trained"].at(p.name).get<std::vector<float>>();
    for (size_t j = 0; j < got.size(); ++j) CHECK(got[j] == Approx(expected[j]).margin(1e-5));
  }
}

TEST_CASE("Training steps of every model are PyTorch's") {
  Json golden;
  std::ifstream("tests/golden/clicks.json") >> golden;
  REQUIRE(golden["cases"].size() == 6);
  for (const Json& c : golden["cases"]) {
    INFO(c["name"].get<std::string>());
    Trainer trainer(GoldenSpec(golden, c), c["net"], 64);
    PutWeights(golden, c, &trainer);
    REQUIRE(golden["batches"].size() == c["losses"].size());
    for (size_t step = 0; step < golden["batches"].size(); ++step) {
      ClickBatch batch = RowsOf(golden["batches"][step]);
      CHECK(trainer.Step(&batch, 0.1f) == Approx(c["losses"][step].get<double>()).epsilon(1e-5));
    }
    CheckWeights(golden, c, &trainer);
  }
}

const char* const kOneLayer = "layers:\n- {type: linear, units: 0}\n";

// With a net of one linear layer a logit is w x + b: the input x can be read off.
TEST_CASE(
    "A net reads embeddings pooled by field, in the order of the fields, then dense columns") {
  const Pooling pooling = GENERATE(Pooling::kSum, Pooling::kMean);
  ClickModelSpec spec;
  spec.terms = {"net"};
  spec.rows.bits = 12;
  spec.embedding.size = 3;
  spec.embedding.pooling = pooling;
  spec.embedding.fields = {"words", "user", "user*ad", "age"};
  spec.embedding.sizes.resize(2);
  spec.embedding.sizes[0].fields = {"words"};
  spec.embedding.sizes[0].size = 8;
  spec.embedding.sizes[1].fields = {"age"};
  spec.embedding.sizes[1].size = 5;
  Trainer trainer(spec, kOneLayer, 40);
  REQUIRE(trainer.model()->input_columns() == 3 + 8 + 5 + 3 + 2);
  REQUIRE(trainer.model()->tables().size() == 3);
  ClickBatch batch;
  batch.rows = TestRows(31, 9);
  trainer.Gather(&batch);
  const Weights weights = RandomWeights(*trainer.model(), 4, &batch);
  trainer.model()->Forward(StepContext(), &batch);
  const std::vector<float> g(31, 1.0f);
  trainer.model()->Backward(StepContext(), &batch, g.data());

  Net* net = trainer.model()->net();
  const std::vector<float> w = ParamOf(net, net->values(), net->params()[0], 0);
  REQUIRE(w.size() == 21);
  const int column[] = {0, -1, 3, 11, -1, 16};
  std::map<std::pair<size_t, uint64_t>, std::vector<double>> gradients;
  for (int64_t r = 0; r < batch.rows.rows; ++r) {
    double logit = w[19] * batch.rows.dense[2 * r] + w[20] * batch.rows.dense[2 * r + 1];
    for (uint32_t i = batch.rows.begin[r]; i < batch.rows.begin[r + 1]; ++i) {
      const uint16_t field = batch.rows.field[i];
      double share = batch.rows.value[i];
      if (pooling == Pooling::kMean) {
        share /= static_cast<double>(std::count(batch.rows.field.begin() + batch.rows.begin[r],
                                                batch.rows.field.begin() + batch.rows.begin[r + 1],
                                                field));
      }
      for (size_t t = 0; t < batch.tables.size(); ++t) {
        const ClickTable& table = trainer.model()->tables()[t];
        if (std::count(table.fields.begin(), table.fields.end(), field) == 0) continue;
        const uint64_t key = batch.rows.key[i] >> 52 << 52;
        std::vector<double>& sum = gradients[{t, key}];
        sum.resize(static_cast<size_t>(table.embedding_size));
        for (int64_t j = 0; j < table.embedding_size; ++j) {
          logit += share * weights.at({t, key})[j] * w[column[field] + j];
          sum[j] += share * w[column[field] + j];
        }
      }
    }
    CHECK(batch.logits[r] == Approx(logit).margin(1e-5));
  }
  for (size_t t = 0; t < batch.tables.size(); ++t) {
    const TableBatch& table = batch.tables[t];
    const size_t size = table.gradients.size() / table.keys.size();
    for (size_t i = 0; i < table.gradients.size(); ++i) {
      const double expected = gradients.at({t, table.keys[i / size]})[i % size];
      CHECK(table.gradients[i] == Approx(expected).margin(1e-5));
    }
  }
}

TEST_CASE("The gradients of a deep model's weights are the slopes of its logits") {
  ClickModelSpec spec;
  spec.terms = {"linear", "fm", "net"};
  spec.rows.bits = 12;
  spec.embedding.size = 4;
  Trainer trainer(spec,
                  "layers:\n- {type: cross, layers: 2}\n- {type: linear, units: 9, activation: "
                  "tanh}\n- {type: linear, units: 0}\n",
                  20);
  ClickBatch batch;
  batch.rows = TestRows(17, 5);
  trainer.Gather(&batch);
  RandomWeights(*trainer.model(), 6, &batch);
  std::vector<float> g;
  RandomSequence random(8, 0);
  for (int64_t r = 0; r < 17; ++r) g.push_back(random.Normal());
  const auto sum = [&] {
    trainer.model()->Forward(StepContext(), &batch);
    double total = 0;
    for (size_t r = 0; r < g.size(); ++r) total += double{g[r]} * batch.logits[r];
    return total;
  };
  // The slope at `w`, and the gradient that was computed there.
  const auto check = [&](float* w, float gradient) {
    const float kept = *w, h = 2e-2f;
    *w = kept + h;
    const double above = sum();
    *w = kept - h;
    const double slope = (above - sum()) / (2 * double{h});
    *w = kept;
    CHECK(gradient == Approx(slope).margin(0.02).epsilon(0.02));
  };
  sum();
  trainer.model()->Backward(StepContext(), &batch, g.data());
  for (TableBatch& t : batch.tables) {
    const std::vector<float> gradients = t.gradients;
    for (size_t i = 0; i < gradients.size(); i += 3) check(&t.values[i], gradients[i]);
  }
  Net* net = trainer.model()->net();
  for (const ParamInfo& p : net->params()) {
    for (int64_t i = 0; i < p.elements; i += 17) {
      if (net->grads()[p.offset + i] == 0) continue;  // padding
      check(net->values() + p.offset + i, net->grads()[p.offset + i]);
    }
  }
}

TEST_CASE("bf16 computes what fp32 does, less exactly") {
  std::vector<std::vector<float>> logits, gradients;
  for (const Dtype compute : {Dtype::kF32, Dtype::kBF16}) {
    ClickModelSpec spec;
    spec.terms = {"linear", "net"};
    spec.rows.bits = 12;
    spec.embedding.size = 8;
    Trainer trainer(
        spec,
        "layers:\n- {type: linear, units: 16, activation: relu}\n- {type: linear, units: 0}\n", 64,
        compute);
    ClickBatch batch;
    batch.rows = TestRows(50, 5);
    trainer.Gather(&batch);
    RandomWeights(*trainer.model(), 6, &batch);
    trainer.model()->Forward(StepContext(), &batch);
    logits.push_back(batch.logits);
    trainer.model()->Backward(StepContext(), &batch, std::vector<float>(50, 1).data());
    gradients.push_back(batch.tables.back().gradients);
  }
  for (size_t r = 0; r < 50; ++r) CHECK(logits[1][r] == Approx(logits[0][r]).margin(0.05));
  double difference = 0, size = 0;
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    difference += std::pow(gradients[1][i] - gradients[0][i], 2);
    size += std::pow(gradients[0][i], 2);
  }
  CHECK(std::sqrt(difference / size) < 0.02);
}

TEST_CASE("A batch without rows has no gradients") {
  ClickModelSpec spec;
  spec.terms = {"linear", "fm", "ffm", "net"};
  spec.rows.bits = 12;
  Trainer trainer(spec, kOneLayer, 8);
  ClickBatch batch;
  batch.rows = TestRows(8, 1);
  trainer.Step(&batch, 0.1f);
  Net* net = trainer.model()->net();
  CHECK(net->grads()[0] != 0);
  batch.rows.Clear();
  CHECK(trainer.Step(&batch, 0.1f) == 0);
  CHECK(batch.logits.empty());
  CHECK(net->grads()[0] == 0);
  for (const TableBatch& t : batch.tables) {
    for (const float g : t.gradients) CHECK(g == 0);
  }
}

TEST_CASE("A net must end in one logit") {
  ClickModelSpec spec;
  spec.terms = {"net"};
  spec.rows.bits = 12;
  CHECK_THROWS_WITH(Trainer(spec, "layers:\n- {type: linear, units: 3}\n", 8),
                    Catch::Contains("3 outputs, the data needs 1"));
}

}  // namespace
}  // namespace mariana
