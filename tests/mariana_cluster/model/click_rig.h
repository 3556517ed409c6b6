// Rows and a float64 reference for tests of click models: the published formulas over the features
// of each row, without tables, indices or vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/random.h"
#include "common/data/rows/key_hash.h"
#include "common/data/rows/row_batch.h"
#include "common/data/rows/row_plan.h"
#include "mariana_cluster/model/click_model.h"

namespace mariana {

// Fields 0 user, 1 ad, 2 words (several values), 3 age (a number: dense, and a feature with its
// value), 4 height (dense alone), 5 user*ad.
inline RowPlan TestPlan() {
  RowSpec spec;
  spec.format = RowFormat::kCsv;
  const std::pair<const char*, RowFieldKind> fields[] = {{"user", RowFieldKind::kCategorical},
                                                         {"ad", RowFieldKind::kCategorical},
                                                         {"words", RowFieldKind::kMulti},
                                                         {"age", RowFieldKind::kNumeric},
                                                         {"height", RowFieldKind::kNumeric}};
  for (const auto& [name, kind] : fields) {
    RowFieldSpec field;
    field.name = name;
    field.kind = kind;
    field.value = field.name == "age";
    spec.fields.push_back(field);
  }
  CrossSpec cross;
  cross.fields = {"user", "ad"};
  spec.crosses.push_back(cross);
  return RowPlan(spec);
}

inline uint64_t TestKey(int field, uint64_t value) {
  return MakeKey(FieldSeed("field" + std::to_string(field)), HashNumber(value));
}

// Rows as a parser makes them: few distinct values, some fields missing, some with several values
// (a value may come twice), one row without any feature.
inline RowBatch TestRows(int64_t rows, uint64_t seed) {
  RandomSequence random(seed, kShuffleStream);
  RowBatch batch;
  batch.rows = rows;
  batch.dense_columns = 2;
  batch.begin.push_back(0);
  const auto add = [&](int field, uint64_t value, float x) {
    batch.key.push_back(TestKey(field, value));
    batch.field.push_back(static_cast<uint16_t>(field));
    batch.value.push_back(x);
  };
  for (int64_t r = 0; r < rows; ++r) {
    batch.label.push_back(random.Below(3) == 0 ? 1.0f : 0.0f);
    batch.weight.push_back(random.Below(4) == 0 ? 2.5f : 1.0f);
    const bool user = r != 1 && random.Below(5) != 0, ad = r != 1;
    const uint64_t a = random.Below(7), b = random.Below(5);
    if (user) add(0, a, 1);
    if (ad) add(1, b, 1);
    for (uint64_t n = r == 1 ? 0 : random.Below(4); n > 0; --n) {
      add(2, random.Below(6), 0.25f + random.Uniform());
    }
    if (ad && random.Below(6) != 0) add(3, 0, random.Normal());
    if (user && ad) add(5, a * 5 + b, 1);
    batch.begin.push_back(static_cast<uint32_t>(batch.key.size()));
    batch.dense.push_back(random.Normal());
    batch.dense.push_back(random.Normal());
  }
  return batch;
}

// The weights of a batch's keys, by (table, canonical key), in float64.
using Weights = std::map<std::pair<size_t, uint64_t>, std::vector<double>>;

// Fills the tables of a prepared batch with random weights, and tells them.
inline Weights RandomWeights(const ClickModel& model, uint64_t seed, ClickBatch* batch) {
  RandomSequence random(seed, kInitStream);
  Weights all;
  for (size_t t = 0; t < batch->tables.size(); ++t) {
    TableBatch& table = batch->tables[t];
    const int64_t width = model.tables()[t].spec.width();
    table.values.resize(table.keys.size() * static_cast<size_t>(width));
    for (float& v : table.values) v = 0.5f * random.Normal();
    for (size_t k = 0; k < table.keys.size(); ++k) {
      const float* v = table.values.data() + k * static_cast<size_t>(width);
      all[{t, table.keys[k]}].assign(v, v + width);
    }
  }
  return all;
}

// The published formulas, feature by feature.
class Reference {
 public:
  Reference(const ClickModelSpec& spec, const ClickModel& model) : spec_(spec), model_(model) {
    for (const ClickTable& table : model.tables()) {
      if (table.factors < 0) continue;
      for (const uint16_t f : table.fields) factor_fields_.push_back(f);
    }
    std::sort(factor_fields_.begin(), factor_fields_.end());
  }

  uint64_t Canonical(size_t table, uint64_t key) const {
    const TableSpec& spec = model_.tables()[table].spec;
    if (spec.form == TableForm::kKeyed) return key;
    return key >> (64 - spec.bits) << (64 - spec.bits);
  }

  // Without the net.
  double Logit(const RowBatch& rows, int64_t r, const Weights& weights) const {
    const std::vector<Feature> features = FeaturesOf(rows, r, weights);
    double logit = 0;
    for (size_t t = 0; t < model_.tables().size(); ++t) {
      const ClickTable& table = model_.tables()[t];
      if (table.bias) logit += weights.at({t, Canonical(t, BiasKey())})[table.linear];
    }
    for (const Feature& i : features) {
      if (i.table->linear >= 0) logit += i.x * (*i.weights)[i.table->linear];
    }
    double pairs = 0, squares = 0;
    for (const Feature& i : features) {
      if (i.table->factors >= 0) squares += i.x * i.x;
      for (const Feature& j : features) {
        if (&j <= &i) continue;
        if (spec_.has("fm")) logit += i.x * j.x * Inner(i, j);
        if (spec_.has("ffm")) pairs += i.x * j.x * InnerByField(i, j);
      }
    }
    return logit + (spec_.factors.normalise && squares > 0 ? pairs / squares : pairs);
  }

 private:
  struct Feature {
    const ClickTable* table;
    int field;
    double x;
    const std::vector<double>* weights;
  };

  std::vector<Feature> FeaturesOf(const RowBatch& rows, int64_t r, const Weights& weights) const {
    std::vector<Feature> features;
    for (uint32_t i = rows.begin[r]; i < rows.begin[r + 1]; ++i) {
      for (size_t t = 0; t < model_.tables().size(); ++t) {
        const ClickTable& table = model_.tables()[t];
        if (!std::count(table.fields.begin(), table.fields.end(), rows.field[i])) continue;
        features.push_back(
            {&table, rows.field[i], rows.value[i], &weights.at({t, Canonical(t, rows.key[i])})});
      }
    }
    return features;
  }

  static double Inner(const Feature& i, const Feature& j) {
    double sum = 0;
    if (i.table->embedding < 0 || j.table->embedding < 0) return 0;
    for (int64_t k = 0; k < i.table->embedding_size; ++k) {
      sum += (*i.weights)[i.table->embedding + k] * (*j.weights)[j.table->embedding + k];
    }
    return sum;
  }

  int64_t PlaceOf(int field) const {
    return std::find(factor_fields_.begin(), factor_fields_.end(), field) - factor_fields_.begin();
  }

  double InnerByField(const Feature& i, const Feature& j) const {
    double sum = 0;
    if (i.table->factors < 0 || j.table->factors < 0) return 0;
    const int64_t size = spec_.factors.size;
    const int64_t of_j = i.table->factors + PlaceOf(j.field) * size;
    const int64_t of_i = j.table->factors + PlaceOf(i.field) * size;
    for (int64_t k = 0; k < size; ++k) sum += (*i.weights)[of_j + k] * (*j.weights)[of_i + k];
    return sum;
  }

  const ClickModelSpec& spec_;
  const ClickModel& model_;
  std::vector<int> factor_fields_;
};

}  // namespace mariana
