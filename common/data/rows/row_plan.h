// RowPlan: a RowSpec compiled: fields with their hash seeds and transforms, crosses, which rows to
// take. What every parser of rows works by. Thread-safe: const after construction.
//
// Fields are numbered in the order of the spec, crosses after them; RowBatch.field holds these
// numbers. Dense columns are the numeric fields with `dense`, in the same order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/data/rows/key_hash.h"
#include "common/data/rows/numbers.h"
#include "common/data/rows/row_spec.h"

namespace mariana {

struct FieldPlan {
  std::string name, column;
  RowFieldKind kind = RowFieldKind::kCategorical;
  uint64_t seed = 0;
  char separator = ',';
  bool crossed = false;
  // Of a numeric field.
  bool bucket = false, value = false;
  uint64_t value_key = 0;  // of the sparse feature with `value`
  int number = -1;         // which numeric field it is
  int dense_column = -1;   // -1: none
  std::vector<float> boundaries;
};

struct CrossPlan {
  std::string name;
  uint64_t seed = 0;
  uint16_t field = 0;        // its own number
  std::vector<uint16_t> of;  // the fields it combines
};

// Transforms of all numeric fields, by FieldPlan.number; padded to a multiple of kNumberPad.
struct NumberPlan {
  std::vector<uint32_t> log;        // all bits set: take the logarithm; else 0
  std::vector<float> shift, scale;  // then (x - shift) * scale
};

// kEveryRow: all rows, malformed ones too, as rows without features whose label is NaN: for outputs
// that follow the input row by row.
enum class RowPart { kAll, kTrain, kHeldOut, kEveryRow };

class RowPlan {
 public:
  // `dense` false: nobody wants the dense columns; rows have none. Error(kUsage) when a field's
  // quantiles or deviation are not measured yet (FitNumbers).
  explicit RowPlan(const RowSpec& spec, bool dense = true);

  const RowSpec& spec() const { return spec_; }
  const std::vector<FieldPlan>& fields() const { return fields_; }
  const std::vector<CrossPlan>& crosses() const { return crosses_; }
  // Names of fields and crosses, by number.
  std::vector<std::string> FieldNames() const;
  int dense_columns() const { return dense_columns_; }
  int numbers() const { return numbers_; }
  const NumberPlan& number_plan() const { return number_plan_; }
  // What a model trained on the kept rows must add to its logit to predict for all: log(keep) with
  // negatives.correct bias, else 0.
  double LogitCorrection() const;
  // Features of a row at most, less what multi-value fields and column "*" add.
  size_t most_features() const { return most_features_; }

 private:
  void AddField(const RowFieldSpec& field);
  void AddCross(const CrossSpec& cross);

  RowSpec spec_;
  bool dense_;
  std::vector<FieldPlan> fields_;
  std::vector<CrossPlan> crosses_;
  NumberPlan number_plan_;
  int dense_columns_ = 0, numbers_ = 0;
  size_t most_features_ = 0;
};

}  // namespace mariana
