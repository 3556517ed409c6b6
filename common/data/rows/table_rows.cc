#include "common/data/rows/table_rows.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/data/rows/row_parser.h"

namespace mariana {

TableRows::TableRows(const RowPlan& plan, RowEncoder* encoder)
    : plan_(plan), encoder_(encoder), has_missing_words_(!plan.spec().missing.empty()) {
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
    const Step step{f.seed, find(f.column), static_cast<uint16_t>(i), f.crossed};
    if (f.kind == RowFieldKind::kNumeric) numbers_.push_back(step);
    if (f.kind == RowFieldKind::kNumeric && !f.bucket && !f.value) continue;
    if (runs_.empty() || runs_.back().kind != f.kind) {
      runs_.push_back({f.kind, steps_.size(), steps_.size()});
    }
    steps_.push_back(step);
    runs_.back().end = steps_.size();
  }
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
