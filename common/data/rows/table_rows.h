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
  // column c. kHex: categorical values are up to 16 hexadecimal digits. False: malformed.
  template <bool kHex, class Column>
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

  template <bool kHex, class Column>
  bool EncodeCategorical(const Run& run, const Column& column);
  template <class Column>
  void EncodeMulti(const Step& step, const Column& column);
  bool SlowNumber(const ColumnText& text, float* x, bool whole) const;
  bool IsMissing(const ColumnText& text) const;
  bool IsAfter(const ColumnText& text) const;
  template <bool kHex, class Column>
  void DescribeBadValue(const Run& run, const Column& column, std::string* what) const;
  std::string BadNumber(const Step& step, const ColumnText& text, bool whole) const;

  const RowPlan& plan_;
  RowEncoder* encoder_;
  bool has_multi_ = false, has_missing_words_ = false;
  std::vector<Step> steps_, numbers_;
  std::vector<Run> runs_;
  std::vector<std::string> names_;  // of the columns
  int label_ = -1, weight_ = -1, group_ = -1, id_ = -1, time_ = -1;
};

template <bool kHex, class Column>
bool TableRows::Encode(const Column& column, RowMarks* marks, std::string* what) {
  float* numbers = encoder_->numbers();
  const size_t count = numbers_.size();
  for (size_t i = 0; i < count; ++i) {
    const ColumnText text = column(numbers_[i].column);
    const uint64_t value = ParseDigits8(Load64(text.p), std::min<size_t>(text.n, 8));
    numbers[i] = text.n == 0 ? kMissing : static_cast<float>(value);
    if (__builtin_expect(text.n > 8 || value > 99999999, 0) &&
        !SlowNumber(text, &numbers[i], kHex)) {
      *what = BadNumber(numbers_[i], text, kHex);
      return false;
    }
  }
  encoder_->CookNumbers();
  for (const Run& run : runs_) {
    if (run.kind == RowFieldKind::kCategorical) {
      if (!EncodeCategorical<kHex>(run, column)) {
        DescribeBadValue<kHex>(run, column, what);
        return false;
      }
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

template <bool kHex, class Column>
bool TableRows::EncodeCategorical(const Run& run, const Column& column) {
  uint64_t bad = 0;
  const RowEncoder::Place to = encoder_->place();
  size_t written = 0;
  for (size_t i = run.begin; i < run.end; ++i) {
    const Step& step = steps_[i];
    const ColumnText text = column(step.column);
    uint64_t hash;
    if (__builtin_expect(text.n <= 8, 1)) {
      const uint64_t word = LowBytes(Load64(text.p), text.n);
      if (kHex) bad |= NotHex8(word, text.n);
      hash = key_hash::OfWord(word, text.n);
    } else {
      if (kHex) {
        bad |= NotHex8(Load64(text.p), 8);
        bad |= text.n > 16 ? 1 : NotHex8(Load64(text.p + text.n - 8), 8);
      }
      hash = HashPadded(text.p, text.n);
    }
    const bool there = text.n > 0 && !(!kHex && has_missing_words_ && IsMissing(text));
    to.key[written] = MakeKey(step.seed, hash);
    to.field[written] = step.field;
    to.value[written] = 1;
    written += there;
    if (step.crossed && there) encoder_->Cross(step.field, hash, 1);
  }
  encoder_->Advance(written);
  return bad == 0;
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

template <bool kHex, class Column>
void TableRows::DescribeBadValue(const Run& run, const Column& column, std::string* what) const {
  for (size_t i = run.begin; i < run.end; ++i) {
    const ColumnText text = column(steps_[i].column);
    if (std::all_of(text.p, text.p + text.n,
                    [](char c) { return NotHex8(static_cast<uint8_t>(c), 1) == 0; }) &&
        text.n <= 16) {
      continue;
    }
    *what = "column " + std::to_string(steps_[i].column + 1) + " (" +
            names_[static_cast<size_t>(steps_[i].column)] + ") is \"" +
            std::string(text.p, std::min<size_t>(text.n, 32)) +
            "\"; expected up to 16 hexadecimal digits, or nothing";
    return;
  }
}

}  // namespace mariana
