#include "mariana_cluster/scores/click_scorer.h"

#include <algorithm>
#include <utility>

#include "common/base/error.h"
#include "common/device/cpu/cpu_device.h"
#include "common/train/net_values.h"
#include "mariana_cluster/snapshot/stored_model.h"

namespace mariana {
namespace {

// Without the optimizers' state.
TableSpec ForReading(TableSpec spec) {
  for (PartSpec& part : spec.parts) {
    part.optimizer = RowOptimizerSpec();
    part.optimizer.type = RowOptimizer::kSgd;
  }
  return spec;
}

}  // namespace

RowSpec RowsFor(const RowSpec& model, const RowSpec& files) {
  RowSpec rows = files;
  rows.crosses = model.crosses;
  rows.negatives = model.negatives;
  rows.fields = EffectiveFields(model);
  const std::vector<RowFieldSpec> own = EffectiveFields(files);
  for (RowFieldSpec& field : rows.fields) {
    const auto found = std::find_if(own.begin(), own.end(),
                                    [&](const RowFieldSpec& f) { return f.name == field.name; });
    if (found == own.end()) continue;
    field.column = found->column;
    field.separator = found->separator;
  }
  return rows;
}

ClickScorer::ClickScorer(std::unique_ptr<SavedModel> model, ClickWeights weights,
                         const Options& options)
    : model_(std::move(model)),
      weights_(std::move(weights)),
      options_(options),
      rows_(options.files == nullptr ? model_->rows : RowsFor(model_->rows, *options.files)),
      plan_(std::make_unique<RowPlan>(rows_)) {
  options_.files = nullptr;
}

ClickScorer::~ClickScorer() = default;

std::unique_ptr<ClickScorer> ClickScorer::Open(const std::string& path, const Options& options) {
  const StoredModel stored = StoredModel::Open(path);
  std::unique_ptr<SavedModel> model = ReadSavedModel(stored.newest());
  const RowPlan plan(model->rows);
  const auto tables = MakeClickTables(model->click, plan, static_cast<uint64_t>(model->seed));
  ClickWeights weights;
  std::vector<std::string> names;
  for (const ClickTable& t : tables) {
    auto shard = std::make_shared<TableShard>(TableShard::Create(ForReading(t.spec), 0, 1));
    weights.shards.push_back({shard});
    stored.ReadTable({shard.get()}, false);
    names.push_back(t.spec.name);
  }
  for (const SafetensorsFile::Entry& e : stored.newest().tensors()) {
    if (!stored.IsOfTable(e.name, names)) weights.dense.push_back(stored.newest().Read(e.name));
  }
  auto scorer = std::make_unique<ClickScorer>(std::move(model), std::move(weights), options);
  scorer->path_ = stored.path();
  return scorer;
}

int64_t ClickScorer::table_bytes() const {
  int64_t bytes = 0;
  for (const auto& shards : weights_.shards) {
    for (const auto& shard : shards) bytes += shard->stats().committed_bytes;
  }
  return bytes;
}

std::unique_ptr<ClickScorer::Lane> ClickScorer::MakeLane() const {
  std::unique_ptr<Lane> lane(new Lane());
  lane->device_ = MakeCpuDevice(0, 1, -1);
  ClickModel::Options options;
  options.device = lane->device_.get();
  options.max_rows = options_.max_rows;
  options.joined_columns = model_->joined_columns;
  options.compute = options_.compute;
  options.train = false;
  options.seed = static_cast<uint64_t>(model_->seed);
  lane->model_ = std::make_unique<ClickModel>(model_->click, model_->net, *plan_, options);
  if (Net* net = lane->model_->net()) LoadNetValues(net, weights_.dense, path_);
  for (const auto& shards : weights_.shards) lane->tables_.emplace_back(shards);
  lane->correction_ = static_cast<float>(plan_->LogitCorrection());
  return lane;
}

ClickScorer::Lane::~Lane() = default;

void ClickScorer::Lane::Score(ClickBatch* batch) {
  model_->Prepare(batch);
  for (size_t t = 0; t < tables_.size(); ++t) {
    TableBatch& b = batch->tables[t];
    const auto n = static_cast<int64_t>(b.keys.size());
    b.rows.resize(b.keys.size());
    b.values.resize(b.keys.size() * static_cast<size_t>(tables_[t].width()));
    tables_[t].Locate(b.keys.data(), n, Missing::kSkip, b.rows.data());
    tables_[t].Gather(b.rows.data(), n, b.values.data());
  }
  StepContext step;
  step.train = false;
  step.rows = step.batch_rows = batch->rows.rows;
  model_->Forward(step, batch);
  for (float& logit : batch->logits) logit += correction_;
}

}  // namespace mariana
