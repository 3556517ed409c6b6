#include "common/data/rows/table_rows.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/data/rows/row_parser.h"

namespace mariana {

TableRows::TableRows(const RowPlan& plan, RowEncoder* encoder) : plan_(plan), encoder_(encoder) {
  for (const FieldPlan& f : plan.fields()) has_multi_ |= f.kind == RowFieldKind::kMulti;
}

void TableRows::SetColumns(const std::vector<std::string>& columns) {
  names_ = columns;
  steps_.clear();
  numbers_.clear();
  runs_.clear();
  const auto find = [&](const std::string& name) {
    const auto found = std::find(columns.begin(), columns.end(), name);
    return name.empty() || found == columns.end() ? -1 : static_cast<int>(found - columns.begin());
  };
  const RowSpec& spec = plan_.spec();
  label_ = spec.format == RowFormat::kCriteo ? 0 : find(spec.label);
  weight_ = find(spec.weight);
  group_ = find(spec.group);
  id_ = find(spec.id);
  if (spec.held_out.kind == HeldOutKind::kAfter) time_ = find(spec.held_out.column);
  for (size_t i = 0; i < plan_.fields().size(); ++i) {
    const FieldPlan& f = plan_.fields()[i];
    const Run::Kind kind = KindOf(f);
    const Step step{kind == Run::kValues ? f.value_key : f.seed, find(f.column),
                    static_cast<uint16_t>(i), f.number};
    if (f.kind == RowFieldKind::kNumeric) numbers_.push_back(step);
    if (f.kind == RowFieldKind::kNumeric && !f.bucket && !f.value) continue;
    if (runs_.empty() || runs_.back().kind != kind) {
      runs_.push_back({kind, steps_.size(), steps_.size(), 0});
    }
    steps_.push_back(step);
    runs_.back().end = steps_.size();
  }
  number_columns_.clear();
  for (const Step& step : numbers_) number_columns_.push_back(step.column);
  words_.assign(plan_.number_plan().log.size(), 0);
  lengths_.assign(words_.size(), 0);
  cells_.clear();
  cell_columns_.clear();
  for (Run& run : runs_) {
    run.cell = cells_.size();
    if (run.kind != Run::kCategories) continue;
    for (size_t i = run.begin; i < run.end; ++i) {
      cells_.push_back({0, steps_[i].seed, 0, steps_[i].field});
      cell_columns_.push_back(steps_[i].column);
    }
  }
}

TableRows::Run::Kind TableRows::KindOf(const FieldPlan& field) const {
  switch (field.kind) {
    case RowFieldKind::kMulti: return Run::kMulti;
    case RowFieldKind::kNumeric: return field.bucket ? Run::kNumbers : Run::kValues;
    case RowFieldKind::kCategorical: break;
  }
  return field.crossed || !plan_.spec().missing.empty() ? Run::kCheckedCategories
                                                        : Run::kCategories;
}

// All texts are in their cells.
void TableRows::EncodeShort(const Run& run) {
  const RowEncoder::Place to = encoder_->place();
  const size_t count = run.end - run.begin;
  const Cell* cell = cells_.data() + run.cell;
  const Cell* const end = cell + count;
  uint64_t* key = to.key;
  uint16_t* field = to.field;
  for (; cell < end; ++cell) {
    const size_t n = cell->length;
    *key = MakeKey(cell->seed, key_hash::OfWord(cell->word, n));
    *field = cell->field;
    key += n > 0;
    field += n > 0;
  }
  std::fill_n(to.value, count, 1.0f);
  encoder_->Advance(static_cast<size_t>(key - to.key));
}

void TableRows::EncodeValues(const Run& run) {
  const RowEncoder::Place to = encoder_->place();
  const Step* const steps = steps_.data();
  size_t written = 0;
  for (size_t i = run.begin; i < run.end; ++i) {
    const Step step = steps[i];
    const float value = encoder_->cooked(step.number);
    to.key[written] = step.seed;
    to.field[written] = step.field;
    to.value[written] = value;
    written += value == value;
  }
  encoder_->Advance(written);
}

bool TableRows::SlowNumber(const ColumnText& text, float* x, bool whole) const {
  if (IsMissing(text)) {
    *x = kMissing;
    return true;
  }
  if (!whole) return ParseReal(text.p, text.n, x);
  int64_t value;
  if (!ParseWhole(text.p, text.n, &value)) return false;
  *x = static_cast<float>(value);
  return true;
}

bool TableRows::IsMissing(const ColumnText& text) const {
  if (text.n == 0) return true;
  for (const std::string& word : plan_.spec().missing) {
    if (std::string_view(text.p, text.n) == word) return true;
  }
  return false;
}

bool TableRows::IsAfter(const ColumnText& text) const {
  return IsAfterTime({text.p, text.n}, plan_.spec().held_out.after);
}

std::string TableRows::BadNumber(const Step& step, const ColumnText& text, bool whole) const {
  return StrCat("column ", step.column + 1, " (", names_[static_cast<size_t>(step.column)], ") is ",
                ShownText(text.p, text.n), "; expected a ", whole ? "whole " : "",
                "number, or nothing");
}

}  // namespace mariana
