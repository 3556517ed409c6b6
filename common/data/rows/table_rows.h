// TableRows: rows of columns (criteo, csv) -> features. What a column feeds is looked up by its
// number, resolved once a file; the walk over fields is in field order, so nothing is sorted.
// Threading: an object belongs to one thread.
#pragma once

#include <string>
#include <vector>

#include "common/data/rows/numbers.h"
#include "common/data/rows/row_choice.h"
#include "common/data/rows/row_encoder.h"
#include "common/data/rows/row_plan.h"

namespace mariana {

struct ColumnText {
  const char* p;  // kTextPadding readable bytes behind it
  size_t n;
};

class TableRows {
 public:
  TableRows(const RowPlan& plan, RowEncoder* encoder);
  // The columns of the rows to come; each that the plan names is among them.
  void SetColumns(const std::vector<std::string>& columns);

  int label() const { return label_; }
  int weight() const { return weight_; }
  // Features of a row of this many bytes beyond the plan's, at most.
  size_t Extra(size_t bytes) const { return has_multi_ ? bytes + 1 : 0; }

  // The features and marks (less label and weight) of a row; column(c) is the ColumnText of its
  // column c. kWhole: numbers are whole. False: malformed.
  template <bool kWhole, class Column>
  bool Encode(const Column& column, RowMarks* marks, std::string* what);

 private:
  // A field that takes part in the sparse features, or a number.
  struct Step {
    uint64_t seed;
    int column;
    uint16_t field;
    bool crossed;
  };
  struct Run {  // fields that follow each other, of one kind
    RowFieldKind kind;
    size_t begin, end;  // steps_
  };

  template <class Column>
  void EncodeCategorical(const Run& run, const Column& column);
  template <class Column>
  void EncodeMulti(const Step& step, const Column& column);
  bool SlowNumber(const ColumnText& text, float* x, bool whole) const;
  bool IsMissing(const ColumnText& text) const;
  bool IsAfter(const ColumnText& text) const;
  std::string BadNumber(const Step& step, const ColumnText& text, bool whole) const;

  const RowPlan& plan_;
  RowEncoder* encoder_;
  bool has_multi_ = false, has_missing_words_ = false;
  std::vector<Step> steps_, numbers_;
  std::vector<Run> runs_;
  std::vector<std::string> names_;  // of the columns
  int label_ = -1, weight_ = -1, group_ = -1, id_ = -1, time_ = -1;
};

template <bool kWhole, class Column>
bool TableRows::Encode(const Column& column, RowMarks* marks, std::string* what) {
  float* numbers = encoder_->numbers();
  const size_t count = numbers_.size();
  for (size_t i = 0; i < count; ++i) {
    const ColumnText text = column(numbers_[i].column);
    const uint64_t value = ParseDigits8(Load64(text.p), std::min<size_t>(text.n, 8));
    numbers[i] = text.n == 0 ? kMissing : static_cast<float>(value);
    if (__builtin_expect(text.n > 8 || value > 99999999, 0) &&
        !SlowNumber(text, &numbers[i], kWhole)) {
      *what = BadNumber(numbers_[i], text, kWhole);
      return false;
    }
  }
  encoder_->CookNumbers();
  for (const Run& run : runs_) {
    if (run.kind == RowFieldKind::kCategorical) {
      EncodeCategorical(run, column);
    } else if (run.kind == RowFieldKind::kMulti) {
      for (size_t i = run.begin; i < run.end; ++i) EncodeMulti(steps_[i], column);
    } else {
      for (size_t i = run.begin; i < run.end; ++i) {
        encoder_->Number(plan_.fields()[steps_[i].field], steps_[i].field);
      }
    }
  }
  const auto hash = [&](int c) { return HashPadded(column(c).p, column(c).n); };
  if (group_ >= 0) marks->group = hash(group_);
  if (id_ >= 0) marks->id = hash(id_);
  if (time_ >= 0) marks->after = IsAfter(column(time_));
  return true;
}

template <class Column>
void TableRows::EncodeCategorical(const Run& run, const Column& column) {
  const RowEncoder::Place to = encoder_->place();
  size_t written = 0;
  for (size_t i = run.begin; i < run.end; ++i) {
    const Step& step = steps_[i];
    const ColumnText text = column(step.column);
    const uint64_t hash = HashPadded(text.p, text.n);
    const bool there = text.n > 0 && !(has_missing_words_ && IsMissing(text));
    to.key[written] = MakeKey(step.seed, hash);
    to.field[written] = step.field;
    to.value[written] = 1;
    written += there;
    if (__builtin_expect(step.crossed && there, 0)) encoder_->Cross(step.field, hash, 1);
  }
  encoder_->Advance(written);
}

template <class Column>
void TableRows::EncodeMulti(const Step& step, const Column& column) {
  const ColumnText text = column(step.column);
  if (IsMissing(text)) return;
  const char separator = plan_.fields()[step.field].separator;
  const char* const end = text.p + text.n;
  for (const char* p = text.p; p < end;) {
    const char* stop = std::find(p, end, separator);
    const uint64_t hash = HashPadded(p, static_cast<size_t>(stop - p));
    encoder_->Hash(step.seed, step.field, hash, 1, stop != p);
    if (step.crossed && stop != p) encoder_->Cross(step.field, hash, 1);
    p = stop + 1;
  }
}

}  // namespace mariana
