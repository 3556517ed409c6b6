#include "mariana_cluster/model/click_model.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/error.h"
#include "mariana_cluster/model/click_kernels.h"
#include "mariana_cluster/model/field_factors.h"
#include "mariana_cluster/model/net_term.h"

namespace mariana {
namespace {

// As TableShard::Canonical.
uint64_t MaskOf(const TableSpec& spec) {
  return spec.form == TableForm::kHashed ? ~uint64_t{0} << (64 - spec.bits) : ~uint64_t{0};
}

// Copies the features of a batch into the tables that they live in.
void DealOut(const RowBatch& rows, const std::vector<int32_t>& table_of,
             std::vector<TableBatch>* tables) {
  for (TableBatch& t : *tables) {
    t.begin.assign(1, 0);
    t.key.clear();
    t.field.clear();
    t.value.clear();
  }
  for (int64_t r = 0; r < rows.rows; ++r) {
    for (uint32_t i = rows.begin[r]; i < rows.begin[r + 1]; ++i) {
      const int32_t to = table_of[rows.field[i]];
      if (to < 0) continue;
      TableBatch& t = (*tables)[to];
      t.key.push_back(rows.key[i]);
      t.field.push_back(rows.field[i]);
      t.value.push_back(rows.value[i]);
    }
    for (TableBatch& t : *tables) t.begin.push_back(static_cast<uint32_t>(t.key.size()));
  }
}

}  // namespace

struct ClickModel::Impl {
  ClickModelSpec spec;
  std::vector<ClickTable> tables;
  std::vector<uint64_t> masks;    // of each table
  std::vector<int64_t> widths;    // of each table
  std::vector<int32_t> table_of;  // by field; -1: none
  bool one_table = false;         // every feature lives in the first table
  const ClickKernels* kernels = &UsableClickKernels().front();
  std::optional<FieldFactors> factors;
  std::optional<NetTerm> net;
  int64_t fm_size = 0;
  std::vector<float> fm_sums;  // [rows, fm_size], from Forward to Backward

  Impl(const ClickModelSpec& s, const NetSpec& net_spec, const RowPlan& plan,
       const Options& options)
      : spec(s), tables(MakeClickTables(s, plan, options.seed)) {
    table_of.assign(plan.FieldNames().size(), -1);
    for (size_t t = 0; t < tables.size(); ++t) {
      masks.push_back(MaskOf(tables[t].spec));
      widths.push_back(tables[t].spec.width());
      for (const uint16_t f : tables[t].fields) table_of[f] = static_cast<int32_t>(t);
      if (spec.has("fm")) fm_size = std::max(fm_size, tables[t].embedding_size);
    }
    one_table = tables.size() == 1 && HoldsAll(plan);
    if (spec.has("ffm")) MakeFactors();
    if (spec.has("net")) net.emplace(net_spec, tables, spec.embedding.pooling, plan, options);
  }

  // Numbers that are dense alone have no features.
  bool HoldsAll(const RowPlan& plan) const {
    for (size_t f = 0; f < table_of.size(); ++f) {
      const bool sparse = f >= plan.fields().size() ||
                          plan.fields()[f].kind != RowFieldKind::kNumeric ||
                          plan.fields()[f].bucket || plan.fields()[f].value;
      if (sparse && table_of[f] < 0) return false;
    }
    return true;
  }

  void MakeFactors() {
    std::vector<int32_t> numbers(table_of.size(), -1);
    int32_t next = 0;
    for (size_t f = 0; f < table_of.size(); ++f) {
      if (table_of[f] >= 0 && tables[table_of[f]].factors >= 0) numbers[f] = next++;
    }
    factors.emplace(std::move(numbers), spec.factors.size, spec.factors.normalise);
  }

  // `gradients`: those of the table's batch are written to.
  TermView ViewOf(const ClickBatch& batch, size_t table, float* gradients) const {
    const TableBatch& t = batch.tables[table];
    CHECK_EQ(static_cast<int64_t>(t.values.size()),
             static_cast<int64_t>(t.keys.size()) * widths[table])
        << tables[table].spec.name;
    TermView v;
    v.rows = batch.rows.rows;
    v.begin = one_table ? batch.rows.begin.data() : t.begin.data();
    v.index = t.index.data();
    v.field = one_table ? batch.rows.field.data() : t.field.data();
    v.value = one_table ? batch.rows.value.data() : t.value.data();
    v.weights = t.values.data();
    v.gradients = gradients;
    v.width = widths[table];
    return v;
  }

  // The tables of a batch, by the terms that use them.
  struct Views {
    std::vector<FieldFactors::View> factors;
    std::vector<NetTerm::View> embeddings;
    void Add(const ClickTable& table, const TermView& view) {
      if (table.factors >= 0) factors.push_back({view, table.factors});
      if (table.embedding >= 0) embeddings.push_back({view, table.embedding, table.embedding_size});
    }
  };

  void Forward(const StepContext& step, ClickBatch* batch);
  void Backward(const StepContext& step, ClickBatch* batch, const float* g);
};

void ClickModel::Impl::Forward(const StepContext& step, ClickBatch* batch) {
  const int64_t rows = batch->rows.rows;
  batch->logits.assign(static_cast<size_t>(rows), 0.0f);
  float* logits = batch->logits.data();
  if (fm_size > 0) fm_sums.assign(static_cast<size_t>(rows * fm_size), 0.0f);
  Views views;
  for (size_t i = 0; i < tables.size(); ++i) {
    const ClickTable& t = tables[i];
    const TermView view = ViewOf(*batch, i, nullptr);
    if (t.bias) {
      for (int64_t r = 0; r < rows; ++r) logits[r] += view.weights[t.linear];
    }
    if (t.linear >= 0) kernels->linear(view, t.linear, logits);
    if (t.embedding >= 0 && fm_size > 0) {
      kernels->fm(view, t.embedding, fm_size, fm_sums.data(), logits);
    }
    views.Add(t, view);
  }
  if (fm_size > 0) kernels->fm_finish(fm_sums.data(), rows, fm_size, logits);
  if (factors) factors->Forward(views.factors, logits);
  if (net) net->Forward(step, batch->rows, views.embeddings, logits);
}

void ClickModel::Impl::Backward(const StepContext& step, ClickBatch* batch, const float* g) {
  Views views;
  for (size_t i = 0; i < tables.size(); ++i) {
    const ClickTable& t = tables[i];
    std::vector<float>& gradients = batch->tables[i].gradients;
    gradients.assign(batch->tables[i].values.size(), 0.0f);
    const TermView view = ViewOf(*batch, i, gradients.data());
    if (t.bias) {
      for (int64_t r = 0; r < batch->rows.rows; ++r) gradients[t.linear] += g[r];
    }
    if (t.linear >= 0) kernels->linear_backward(view, t.linear, g);
    if (t.embedding >= 0 && fm_size > 0) {
      kernels->fm_backward(view, t.embedding, fm_size, fm_sums.data(), g);
    }
    views.Add(t, view);
  }
  if (factors) factors->Backward(views.factors, g);
  if (net) net->Backward(step, views.embeddings, g);
}

ClickModel::ClickModel(const ClickModelSpec& spec, const NetSpec& net, const RowPlan& plan,
                       const Options& options)
    : impl_(std::make_unique<Impl>(spec, net, plan, options)) {}

ClickModel::~ClickModel() = default;

const std::vector<ClickTable>& ClickModel::tables() const { return impl_->tables; }
bool ClickModel::is_linear() const {
  return impl_->one_table && impl_->tables[0].linear == 0 && impl_->tables[0].spec.width() == 1;
}
Net* ClickModel::net() { return impl_->net ? impl_->net->net() : nullptr; }
int64_t ClickModel::input_columns() const { return impl_->net ? impl_->net->columns() : 0; }

void ClickModel::Prepare(ClickBatch* batch) const {
  const Impl& model = *impl_;
  batch->tables.resize(model.tables.size());
  if (!model.one_table) DealOut(batch->rows, model.table_of, &batch->tables);
  const uint64_t bias = BiasKey();
  for (size_t i = 0; i < model.tables.size(); ++i) {
    TableBatch& t = batch->tables[i];
    const std::vector<uint64_t>& key = model.one_table ? batch->rows.key : t.key;
    const uint64_t first = bias & model.masks[i];
    t.index.resize(key.size());
    FindDistinct(&first, model.tables[i].bias ? 1 : 0, key.data(), static_cast<int64_t>(key.size()),
                 model.masks[i], &t.keys, t.index.data(), &t.scratch);
  }
}

void ClickModel::Forward(const StepContext& step, ClickBatch* batch) {
  StepContext of_batch = step;
  of_batch.rows = batch->rows.rows;
  impl_->Forward(of_batch, batch);
}

void ClickModel::Backward(const StepContext& step, ClickBatch* batch, const float* gradients) {
  StepContext of_batch = step;
  of_batch.rows = batch->rows.rows;
  impl_->Backward(of_batch, batch, gradients);
}

double ClickLossOf(ClickLoss loss, const RowBatch& rows, const float* logits, float* gradients) {
  const ClickKernels& kernels = UsableClickKernels().front();
  const auto kernel = loss == ClickLoss::kLogistic ? kernels.logistic : kernels.squared;
  constexpr int64_t kBlock = 256;
  float losses[kBlock];
  double sum = 0;
  for (int64_t at = 0; at < rows.rows; at += kBlock) {
    const int64_t n = std::min(kBlock, rows.rows - at);
    kernel(logits + at, rows.label.data() + at, rows.weight.data() + at, n, losses,
           gradients == nullptr ? nullptr : gradients + at);
    for (int64_t i = 0; i < n; ++i) sum += losses[i];
  }
  return sum;
}

}  // namespace mariana
