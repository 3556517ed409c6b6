// RowChoice: which rows a pass takes: training or held out, and which of those without a click.
// A pure function of the row's place (file, byte) or its group or id. Thread-safe.
#pragma once

#include <string_view>

#include "common/data/rows/row_plan.h"

namespace mariana {

// What is known of a row besides its features.
struct RowMarks {
  float label = 0, weight = 1;
  uint64_t group = 0, id = 0;
  bool after = false;  // at or after held_out.after
  int file = 0;
  int64_t offset = 0;     // of its first byte
  bool past_cut = false;  // behind the file's held_out_from
};

// Whether a row's time is `from` or later: as whole numbers where both are, else as text.
bool IsAfterTime(std::string_view time, std::string_view from);

class RowChoice {
 public:
  RowChoice(const RowPlan& plan, RowPart part);
  // Sets the row's weight where the choice changes it.
  bool Takes(RowMarks* row) const {
    return (takes_all_ || HeldOut(*row) == (part_ == RowPart::kHeldOut)) &&
           (keep_ == 1 || KeepsNegative(row));
  }
  bool HeldOut(const RowMarks& row) const;

 private:
  bool KeepsNegative(RowMarks* row) const;

  const HeldOutSpec held_out_;
  const RowPart part_;
  const bool takes_all_;
  const uint64_t held_out_seed_, negatives_seed_;
  const double keep_;  // 1 where rows without a click are all kept
  const float kept_weight_;
};

}  // namespace mariana
