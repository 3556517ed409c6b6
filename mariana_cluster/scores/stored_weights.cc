#include "mariana_cluster/scores/stored_weights.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"

namespace mariana {
namespace {

// "I1 < 2", "I1 in [2, 5)", "I1 >= 5".
std::string BucketName(const FieldPlan& field, size_t bucket) {
  const std::vector<float>& b = field.boundaries;
  if (b.empty()) return field.name;
  if (bucket == 0) return StrCat(field.name, " < ", b.front());
  if (bucket == b.size()) return StrCat(field.name, " >= ", b.back());
  return StrCat(field.name, " in [", b[bucket - 1], ", ", b[bucket], ")");
}

}  // namespace

std::multimap<int64_t, std::string> KnownFeatures(const RowPlan& plan, const ClickTable& table) {
  std::multimap<int64_t, std::string> names;
  const bool hashed = table.spec.form == TableForm::kHashed;
  const auto add = [&](uint64_t key, const std::string& name) {
    names.emplace(static_cast<int64_t>(hashed ? key >> (64 - table.spec.bits) : key), name);
  };
  if (table.bias) add(BiasKey(), "bias");
  for (const uint16_t f : table.fields) {
    if (f >= plan.fields().size()) continue;  // a cross
    const FieldPlan& field = plan.fields()[f];
    if (field.kind != RowFieldKind::kNumeric) continue;
    if (field.value) add(field.value_key, field.name);
    for (size_t b = 0; field.bucket && b <= field.boundaries.size(); ++b) {
      add(MakeKey(field.seed, HashNumber(b)), BucketName(field, b));
    }
  }
  return names;
}

std::vector<WeightSummary> SummarizeWeights(const StoredModel& model, const ClickTable& table) {
  std::vector<WeightSummary> parts;
  for (const PartSpec& part : table.spec.parts) {
    parts.emplace_back();
    parts.back().part = part.name;
  }
  model.ForEachRow(table.spec.name, table.spec.width(), [&](int64_t, const float* w) {
    for (size_t p = 0; p < parts.size(); ++p) {
      for (int64_t i = 0; i < table.spec.parts[p].width; ++i, ++w) {
        ++parts[p].weights;
        parts[p].zeros += *w == 0 ? 1 : 0;
        parts[p].norm += static_cast<double>(*w) * *w;
        parts[p].largest = std::max(parts[p].largest, std::abs(static_cast<double>(*w)));
      }
    }
  });
  for (WeightSummary& part : parts) part.norm = std::sqrt(part.norm);
  return parts;
}

}  // namespace mariana
