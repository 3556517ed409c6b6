#include "common/data/rows/row_encoder.h"

#include <algorithm>
#include <cmath>

#include "common/device/formulas.h"

namespace mariana {
namespace {

// sign(x) log(1 + |x|).
[[gnu::always_inline]] inline float SignedLog1p(float x) {
  const float y = formulas::Log1p(formulas::Abs(x));
  return formulas::FromBits(formulas::ToBits(y) | (formulas::ToBits(x) & 0x80000000u));
}

}  // namespace

RowEncoder::RowEncoder(const RowPlan* plan)
    : plan_(plan),
      has_crosses_(!plan->crosses().empty()),
      has_group_(!plan->spec().group.empty()),
      has_id_(!plan->spec().id.empty()),
      most_features_(plan->most_features() + 1),
      raw_(plan->number_plan().log.size(), kMissing),
      cooked_(raw_.size()),
      crossed_(plan->fields().size()) {
  if (has_crosses_) most_features_ += plan->crosses().size() * kMostCombinations;
  for (const FieldPlan& f : plan->fields()) {
    if (f.dense_column < 0) continue;
    dense_in_order_ &= f.number == static_cast<int>(dense_number_.size());
    dense_number_.push_back(f.number);
  }
  for (const RowFieldSpec& f : EffectiveFields(plan->spec())) {
    if (f.kind == RowFieldKind::kNumeric && f.dense && plan->dense_columns() > 0) {
      dense_missing_.push_back(static_cast<float>(f.missing));
    }
  }
}

void RowEncoder::Attach(RowBatch* batch, size_t expected_rows) {
  batch_ = batch;
  batch->dense_columns = plan_->dense_columns();
  rows_ = static_cast<size_t>(batch->rows);
  row_begin_ = used_ = rows_ == 0 ? 0 : batch->begin[rows_];
  const size_t expected = expected_rows * (plan_->most_features() + 1) + most_features_;
  SetCapacity(std::max(used_ + expected, batch->key.size()));
  GrowRows(rows_ + expected_rows);
  batch->begin[rows_] = static_cast<uint32_t>(row_begin_);
}

void RowEncoder::Detach() {
  batch_->rows = static_cast<int64_t>(rows_);
  capacity_ = row_begin_;
  batch_->key.resize(capacity_);
  batch_->field.resize(capacity_);
  batch_->value.resize(capacity_);
  GrowRows(rows_);
}

void RowEncoder::SetCapacity(size_t features) {
  capacity_ = features;
  batch_->key.resize(capacity_);
  batch_->field.resize(capacity_);
  batch_->value.resize(capacity_);
  key_ = batch_->key.data();
  field_ = batch_->field.data();
  value_ = batch_->value.data();
}

void RowEncoder::GrowRows(size_t rows) {
  row_capacity_ = rows;
  batch_->label.resize(rows);
  batch_->weight.resize(rows);
  batch_->begin.resize(rows + 1);
  batch_->dense.resize(rows * static_cast<size_t>(plan_->dense_columns()));
  batch_->group.resize(has_group_ ? rows : 0);
  batch_->id.resize(has_id_ ? rows : 0);
}

void RowEncoder::CookNumbers() {
  const NumberPlan& plan = plan_->number_plan();
  const float* __restrict raw = raw_.data();
  const uint32_t* log = plan.log.data();
  const float* shift = plan.shift.data();
  const float* scale = plan.scale.data();
  float* __restrict cooked = cooked_.data();
  for (size_t begin = 0; begin < raw_.size(); begin += kNumberPad) {
    for (size_t i = begin; i < begin + kNumberPad; ++i) {
      const float x = raw[i];
      const uint32_t bits =
          (formulas::ToBits(SignedLog1p(x)) & log[i]) | (formulas::ToBits(x) & ~log[i]);
      cooked[i] = (formulas::FromBits(bits) - shift[i]) * scale[i];
    }
  }
  const size_t columns = dense_number_.size();
  const float* missing = dense_missing_.data();
  float* __restrict dense = batch_->dense.data() + rows_ * columns;
  const auto number = [&](float x, size_t c) {
    // A choice of bits, which vectorises where a branch would not.
    const uint32_t there = x == x ? ~uint32_t{0} : 0;
    return formulas::FromBits((formulas::ToBits(x) & there) |
                              (formulas::ToBits(missing[c]) & ~there));
  };
  if (dense_in_order_) {
    for (size_t c = 0; c < columns; ++c) dense[c] = number(cooked[c], c);
  } else {
    for (size_t c = 0; c < columns; ++c) dense[c] = number(cooked[dense_number_[c]], c);
  }
}

void RowEncoder::Number(const FieldPlan& plan, uint16_t field) {
  const float raw = raw_[static_cast<size_t>(plan.number)];
  if (raw != raw) return;
  if (plan.value) {
    key_[used_] = plan.value_key;
    field_[used_] = field;
    value_[used_++] = cooked_[static_cast<size_t>(plan.number)];
  }
  if (!plan.bucket) return;
  const auto above = std::upper_bound(plan.boundaries.begin(), plan.boundaries.end(), raw);
  const uint64_t hash = HashNumber(static_cast<uint64_t>(above - plan.boundaries.begin()));
  Hash(plan.seed, field, hash, 1, true);
  if (plan.crossed) Cross(field, hash, 1);
}

void RowEncoder::ForgetCrossed() {
  for (std::vector<Value>& values : crossed_) values.clear();
}

bool RowEncoder::AddAllCrosses(std::string* what) {
  for (const CrossPlan& cross : plan_->crosses()) {
    if (AddCross(cross)) continue;
    *what = "cross " + cross.name + " has more than " + std::to_string(kMostCombinations) +
            " combinations of values, or their weights multiply to infinity; give fewer or smaller";
    return false;
  }
  return true;
}

bool RowEncoder::AddCross(const CrossPlan& cross) {
  size_t combinations = 1;
  for (const uint16_t f : cross.of) {
    combinations *= crossed_[f].size();
    if (combinations > kMostCombinations) return false;
  }
  for (size_t c = 0; c < combinations; ++c) {
    size_t rest = c;
    Value all{0, 1};
    for (auto f = cross.of.rbegin(); f != cross.of.rend(); ++f) {  // the last field varies fastest
      const std::vector<Value>& values = crossed_[*f];
      const Value& v = values[rest % values.size()];
      rest /= values.size();
      all.hash = f == cross.of.rbegin() ? v.hash : CombineHashes(v.hash, all.hash);
      all.value *= v.value;
    }
    if (!std::isfinite(all.value)) return false;
    Hash(cross.seed, cross.field, all.hash, all.value, true);
  }
  return true;
}

}  // namespace mariana
