#include "common/data/rows/row_plan.h"

#include <cmath>

#include "common/base/error.h"

namespace mariana {

RowPlan::RowPlan(const RowSpec& spec, bool dense) : spec_(spec), dense_(dense) {
  for (const RowFieldSpec& field : EffectiveFields(spec)) AddField(field);
  for (const CrossSpec& cross : spec.crosses) AddCross(cross);
  while (number_plan_.log.size() % kNumberPad != 0) {
    number_plan_.log.push_back(0);
    number_plan_.shift.push_back(0);
    number_plan_.scale.push_back(1);
  }
}

void RowPlan::AddField(const RowFieldSpec& field) {
  FieldPlan plan;
  plan.name = field.name;
  plan.column = field.column;
  plan.kind = field.kind;
  plan.seed = FieldSeed(field.name);
  plan.separator = SingleByte(field.separator);
  if (field.kind == RowFieldKind::kNumeric) {
    if ((field.bucket && field.boundaries.empty()) || (field.standardise && field.deviation == 0)) {
      throw Fail(ExitCode::kUsage, "field \"", field.name,
                 "\": its quantiles, mean and deviation must be measured on the data first, or "
                 "given as boundaries, mean and deviation");
    }
    plan.bucket = field.bucket;
    plan.value = field.value;
    plan.value_key = MakeKey(plan.seed, HashNumber(UINT64_MAX));
    plan.number = numbers_++;
    if (field.dense && dense_) plan.dense_column = dense_columns_++;
    plan.boundaries.assign(field.boundaries.begin(), field.boundaries.end());
    number_plan_.log.push_back(field.log ? ~0u : 0u);
    number_plan_.shift.push_back(field.standardise ? static_cast<float>(field.mean) : 0);
    number_plan_.scale.push_back(field.standardise ? static_cast<float>(1 / field.deviation) : 1);
    most_features_ += (field.bucket ? 1 : 0) + (field.value ? 1 : 0);
  } else {
    most_features_ += 1;
  }
  fields_.push_back(std::move(plan));
}

void RowPlan::AddCross(const CrossSpec& cross) {
  CrossPlan plan;
  plan.name = cross.name;
  for (const std::string& name : cross.fields) {
    if (cross.name.empty()) plan.name += (plan.name.empty() ? "" : "*") + name;
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (fields_[i].name != name) continue;
      plan.of.push_back(static_cast<uint16_t>(i));
      fields_[i].crossed = true;
    }
  }
  plan.seed = FieldSeed(plan.name);
  plan.field = static_cast<uint16_t>(fields_.size() + crosses_.size());
  crosses_.push_back(std::move(plan));
  most_features_ += 1;
}

std::vector<std::string> RowPlan::FieldNames() const {
  std::vector<std::string> names;
  for (const FieldPlan& f : fields_) names.push_back(f.name);
  for (const CrossPlan& c : crosses_) names.push_back(c.name);
  return names;
}

double RowPlan::LogitCorrection() const {
  return spec_.negatives.correct == NegativeCorrection::kBias ? std::log(spec_.negatives.keep) : 0;
}

}  // namespace mariana
