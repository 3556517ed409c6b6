// RowEncoder: turns the texts and numbers of a row into its features in a RowBatch: hashing,
// transforms, buckets, crosses. Every format's parser ends here, so that the same values give the
// same row whatever held them.
//
// Per row: BeginRow; numbers()[k] for each number there is; CookNumbers; fields in ascending order
// by Hash and Number; EndRow or nothing (a row that was begun and not ended leaves no trace).
// Threading: an object belongs to one thread.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "common/data/rows/row_batch.h"
#include "common/data/rows/row_plan.h"

namespace mariana {

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

class RowEncoder {
 public:
  explicit RowEncoder(const RowPlan* plan);

  // Rows are appended to the batch until Detach, which gives it its final sizes.
  void Attach(RowBatch* batch, size_t expected_rows);
  void Detach();
  int64_t rows() const { return static_cast<int64_t>(rows_); }  // of the batch

  // `extra`: features of this row beyond plan.most_features(), at most.
  void BeginRow(size_t extra) {
    used_ = row_begin_;
    const size_t most = most_features_ + extra;
    if (used_ + most > capacity_) SetCapacity(used_ + most + capacity_ / 2);
    if (rows_ == row_capacity_) GrowRows(2 * rows_ + 64);
    if (has_crosses_) ForgetCrossed();
  }

  // The row's numbers as they stand in the text, by FieldPlan.number; kMissing until set.
  // There is room for as many as NumberPlan pads them to.
  float* numbers() { return raw_.data(); }
  void ClearNumbers() {
    for (float& x : raw_) x = kMissing;
  }
  // Transforms them, writes the dense columns.
  void CookNumbers();

  // One value of a categorical field; `there` false adds nothing (branch-free).
  void Hash(uint64_t seed, uint16_t field, uint64_t value_hash, float value, bool there) {
    key_[used_] = MakeKey(seed, value_hash);
    field_[used_] = field;
    value_[used_] = value;
    used_ += there;
  }
  // Where the next features go, to be kept in registers by loops that write many; Advance then
  // says how many were written. There is room for as many as BeginRow was told.
  struct Place {
    uint64_t* key;
    uint16_t* field;
    float* value;
  };
  Place place() const { return {key_ + used_, field_ + used_, value_ + used_}; }
  void Advance(size_t written) { used_ += written; }
  // The value is part of crosses too (FieldPlan.crossed).
  void Cross(uint16_t field, uint64_t value_hash, float value) {
    crossed_[field].push_back({value_hash, value});
  }
  // A number as it is after CookNumbers; kMissing stays so.
  float cooked(int number) const { return cooked_[static_cast<size_t>(number)]; }
  // The sparse features of a numeric field.
  void Number(const FieldPlan& plan, uint16_t field);
  // The crosses. False when one has too many combinations; its name is in *what.
  bool AddCrosses(std::string* what) { return !has_crosses_ || AddAllCrosses(what); }

  void EndRow(float label, float weight, uint64_t group, uint64_t id) {
    batch_->label[rows_] = label;
    batch_->weight[rows_] = weight;
    if (has_group_) batch_->group[rows_] = group;
    if (has_id_) batch_->id[rows_] = id;
    ++rows_;
    batch_->begin[rows_] = static_cast<uint32_t>(used_);
    row_begin_ = used_;
  }

  static constexpr size_t kMostCombinations = 256;  // of a cross of multi-value fields, a row

 private:
  struct Value {
    uint64_t hash;
    float value;
  };

  void SetCapacity(size_t features);
  void GrowRows(size_t rows);
  void ForgetCrossed();
  bool AddAllCrosses(std::string* what);
  bool AddCross(const CrossPlan& cross);

  const RowPlan* plan_;
  const bool has_crosses_, has_group_, has_id_;
  size_t most_features_;
  RowBatch* batch_ = nullptr;
  uint64_t* key_ = nullptr;  // of *batch_
  uint16_t* field_ = nullptr;
  float* value_ = nullptr;
  size_t row_begin_ = 0, used_ = 0, capacity_ = 0;
  size_t rows_ = 0, row_capacity_ = 0;
  std::vector<float> raw_, cooked_;  // by number
  std::vector<int> dense_number_;    // by dense column
  bool dense_in_order_ = true;       // column c is number c
  std::vector<float> dense_missing_;
  std::vector<std::vector<Value>> crossed_;  // by field
};

}  // namespace mariana
