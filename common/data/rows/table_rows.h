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
    uint64_t seed;  // of a run of values: the feature's key
    int column;
    uint16_t field;
    int number;
  };
  // Fields that follow each other, of one kind.
  struct Run {
    enum Kind {
      kCategories,         // one value each
      kCheckedCategories,  // that may be a word for "missing", or takes part in crosses
      kMulti,
      kValues,   // numbers as they are
      kNumbers,  // in buckets, too
    };
    Kind kind;
    size_t begin, end;  // steps_
    size_t cell;        // of the first of them
  };
  // The beginnings of texts, taken from the line before anything is done with them: the passes over
  // them are then short loops. Of the categories of kCategories; numbers have arrays of their own.
  struct Cell {
    uint64_t word;
    uint64_t seed;
    uint32_t length;
    uint16_t field;
  };
  Run::Kind KindOf(const FieldPlan& field) const;

  template <class Column>
  void TakeNumbers(const Column& column);
  // True when all categories are of up to 8 bytes.
  template <class Column>
  bool TakeCategories(const Column& column);
  template <bool kWhole, class Column>
  bool EncodeNumbers(const Column& column, std::string* what);
  void EncodeShort(const Run& run);
  template <class Column>
  void EncodeLong(const Run& run, const Column& column);
  template <class Column>
  void EncodeChecked(const Run& run, const Column& column);
  template <class Column>
  void EncodeMulti(const Step& step, const Column& column);
  void EncodeValues(const Run& run);
  bool SlowNumber(const ColumnText& text, float* x, bool whole) const;
  bool IsMissing(const ColumnText& text) const;
  bool IsAfter(const ColumnText& text) const;
  std::string BadNumber(const Step& step, const ColumnText& text, bool whole) const;

  const RowPlan& plan_;
  RowEncoder* encoder_;
  bool has_multi_ = false;
  std::vector<Step> steps_, numbers_;
  std::vector<Run> runs_;
  std::vector<Cell> cells_;
  std::vector<int> cell_columns_, number_columns_;
  // Of numbers, padded as ParseDigits wants them.
  std::vector<uint64_t> words_;
  std::vector<uint32_t> lengths_;
  std::vector<std::string> names_;  // of the columns
  int label_ = -1, weight_ = -1, group_ = -1, id_ = -1, time_ = -1;
};

template <bool kWhole, class Column>
bool TableRows::Encode(const Column& column, RowMarks* marks, std::string* what) {
  TakeNumbers(column);
  const bool all_short = TakeCategories(column);
  if (!EncodeNumbers<kWhole>(column, what)) return false;
  for (const Run& run : runs_) {
    switch (run.kind) {
      case Run::kCategories: all_short ? EncodeShort(run) : EncodeLong(run, column); break;
      case Run::kCheckedCategories: EncodeChecked(run, column); break;
      case Run::kMulti:
        for (size_t i = run.begin; i < run.end; ++i) EncodeMulti(steps_[i], column);
        break;
      case Run::kValues: EncodeValues(run); break;
      case Run::kNumbers:
        for (size_t i = run.begin; i < run.end; ++i) {
          encoder_->Number(plan_.fields()[steps_[i].field], steps_[i].field);
        }
        break;
    }
  }
  const auto hash = [&](int c) { return HashPadded(column(c).p, column(c).n); };
  if (group_ >= 0) marks->group = hash(group_);
  if (id_ >= 0) marks->id = hash(id_);
  if (time_ >= 0) marks->after = IsAfter(column(time_));
  return true;
}

template <class Column>
void TableRows::TakeNumbers(const Column& column) {
  const int* const columns = number_columns_.data();
  uint64_t* const words = words_.data();
  uint32_t* const lengths = lengths_.data();
  const size_t count = number_columns_.size();
  for (size_t i = 0; i < count; ++i) {
    const ColumnText text = column(columns[i]);
    words[i] = Load64(text.p);
    lengths[i] = static_cast<uint32_t>(text.n);
  }
}

template <class Column>
bool TableRows::TakeCategories(const Column& column) {
  const int* columns = cell_columns_.data();
  size_t longest = 0;
  for (Cell& cell : cells_) {
    const ColumnText text = column(*columns++);
    cell.word = LowBytes(Load64(text.p), std::min<size_t>(text.n, 8));
    cell.length = static_cast<uint32_t>(text.n);
    longest |= text.n + 7;  // bit 4 or a higher one tells that n was above 8
  }
  return longest < 16;
}

template <bool kWhole, class Column>
bool TableRows::EncodeNumbers(const Column& column, std::string* what) {
  float* numbers = encoder_->numbers();
  if (!ParseDigits(words_.data(), lengths_.data(), words_.size(), numbers)) {
    for (size_t i = 0; i < numbers_.size(); ++i) {
      if (lengths_[i] <= 8 && ParseDigits8(words_[i], lengths_[i]) <= 99999999) continue;
      const ColumnText text = column(numbers_[i].column);
      if (SlowNumber(text, &numbers[i], kWhole)) continue;
      *what = BadNumber(numbers_[i], text, kWhole);
      return false;
    }
  }
  encoder_->CookNumbers();
  return true;
}

// Some text is longer than 8 bytes.
template <class Column>
void TableRows::EncodeLong(const Run& run, const Column& column) {
  for (size_t i = run.begin; i < run.end; ++i) {
    const Step& step = steps_[i];
    const ColumnText text = column(step.column);
    encoder_->Hash(step.seed, step.field, HashPadded(text.p, text.n), 1, text.n > 0);
  }
}

template <class Column>
void TableRows::EncodeChecked(const Run& run, const Column& column) {
  for (size_t i = run.begin; i < run.end; ++i) {
    const Step& step = steps_[i];
    const ColumnText text = column(step.column);
    const uint64_t hash = HashPadded(text.p, text.n);
    const bool there = !IsMissing(text);
    encoder_->Hash(step.seed, step.field, hash, 1, there);
    if (there && plan_.fields()[step.field].crossed) encoder_->Cross(step.field, hash, 1);
  }
}

template <class Column>
void TableRows::EncodeMulti(const Step& step, const Column& column) {
  const ColumnText text = column(step.column);
  if (IsMissing(text)) return;
  const char separator = plan_.fields()[step.field].separator;
  const bool crossed = plan_.fields()[step.field].crossed;
  const char* const end = text.p + text.n;
  for (const char* p = text.p; p < end;) {
    const char* stop = std::find(p, end, separator);
    const uint64_t hash = HashPadded(p, static_cast<size_t>(stop - p));
    encoder_->Hash(step.seed, step.field, hash, 1, stop != p);
    if (crossed && stop != p) encoder_->Cross(step.field, hash, 1);
    p = stop + 1;
  }
}

}  // namespace mariana
