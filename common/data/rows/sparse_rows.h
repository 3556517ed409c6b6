// SparseRows: rows of named features in any order (libsvm, libffm, VW) -> features in field order.
// A parser resolves each name (Find), hands over what it means (Text, Number, Other), and Finish
// encodes the row.
// Threading: an object belongs to one thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/data/rows/row_choice.h"
#include "common/data/rows/row_encoder.h"
#include "common/data/rows/row_plan.h"

namespace mariana {

class SparseRows {
 public:
  // What a column name stands for.
  struct Target {
    enum Kind : uint8_t { kCategorical, kMulti, kNumber, kWeight, kGroup, kId, kTime };
    Kind kind;
    uint16_t field;
  };
  struct Targets {
    const Target* begin = nullptr;
    const Target* end = nullptr;
    explicit operator bool() const { return begin != end; }
  };

  SparseRows(const RowPlan& plan, RowEncoder* encoder);

  // The name must have kTextPadding readable bytes behind it. Empty: nothing in the spec names it.
  Targets Find(const char* name, size_t n);
  // The column that rows name next as a rule, if this text is its name, '=' and more, and no column
  // has a '=' in its name; *length is the name's. A shortcut to Find.
  Targets Expect(const char* text, size_t n, size_t* length);
  bool names_columns() const { return !targets_.empty(); }
  bool has_other() const { return other_ >= 0; }

  void Begin();
  // The column's value is this text, with a weight of its own. False: malformed.
  bool Text(Targets targets, const char* p, size_t n, float weight, RowMarks* marks,
            std::string* what);
  // The column's value is this number; `p` is how it, or the feature it came with, is written.
  bool Number(Targets targets, const char* p, size_t n, float x, RowMarks* marks,
              std::string* what);
  // A feature that only column "*" takes.
  void Other(uint64_t hash, float value) {
    if (other_ >= 0) Add({hash, value, static_cast<uint16_t>(other_)});
  }
  void Finish();

 private:
  struct Item {
    uint64_t hash;
    float value;
    uint16_t field;
  };
  struct Slot {
    uint64_t word = 0;  // its first 8 bytes
    uint32_t length = 0;
    uint32_t name = 0;            // in names_, from 1; 0: free
    uint32_t begin = 0, end = 0;  // targets_
    uint32_t next = 0;            // the slot that was asked for after this one last time
  };

  bool Matches(const Slot& slot, const char* name, size_t n, uint64_t word) const {
    return slot.name != 0 && slot.length == n && slot.word == word &&
           (n <= 8 || names_[slot.name - 1].compare(8, n - 8, name + 8, n - 8) == 0);
  }
  void AddName(const std::string& name);
  bool One(Target target, const char* p, size_t n, float weight, RowMarks* marks,
           std::string* what);
  bool SetNumber(uint16_t field, const char* p, size_t n, float x, std::string* what);
  void AddTexts(uint16_t field, const char* p, size_t n, float weight);
  void Add(const Item& item) {
    in_order_ &= item.field >= last_field_;
    last_field_ = item.field;
    items_.push_back(item);
  }
  // Items from the i-th on of fields below `end`; returns the next.
  size_t Emit(size_t i, uint16_t end);

  const RowPlan& plan_;
  RowEncoder* encoder_;
  int other_ = -1;  // the field with column "*"
  std::vector<std::string> names_;
  std::vector<Target> targets_;
  bool equals_in_names_ = false;
  size_t last_ = 0;                // the slot found last
  std::vector<Slot> slots_;        // open addressing, a power of two
  std::vector<uint16_t> numbers_;  // fields with sparse features of numbers
  std::vector<Item> items_;
  uint16_t last_field_ = 0;  // of items_
  bool in_order_ = true;     // items_ are in field order
};

}  // namespace mariana
