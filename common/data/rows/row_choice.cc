#include "common/data/rows/row_choice.h"

#include "common/data/rows/numbers.h"

namespace mariana {
namespace {

// Two draws of one row never meet, whatever their seeds.
constexpr uint64_t kHeldOutStream = 1, kNegativesStream = 2;

uint64_t SeedOf(int64_t seed, uint64_t stream) {
  return Mix(static_cast<uint64_t>(seed) ^ kHashSecret[0], stream ^ kHashSecret[1]);
}

// In [0, 1).
double Draw(uint64_t seed, uint64_t what) {
  const uint64_t h = Mix(Mix(what ^ kHashSecret[2], seed ^ kHashSecret[3]), seed ^ kHashSecret[0]);
  return static_cast<double>(h >> 11) * 0x1p-53;
}

uint64_t PlaceOf(const RowMarks& row) {
  return static_cast<uint64_t>(row.file) << 48 ^ static_cast<uint64_t>(row.offset);
}

}  // namespace

bool IsAfterTime(std::string_view time, std::string_view from) {
  int64_t a, b;
  if (ParseWhole(time.data(), time.size(), &a) && ParseWhole(from.data(), from.size(), &b)) {
    return a >= b;
  }
  return time >= from;
}

RowChoice::RowChoice(const RowPlan& plan, RowPart part)
    : held_out_(plan.spec().held_out),
      part_(part),
      takes_all_(part == RowPart::kAll || part == RowPart::kEveryRow),
      held_out_seed_(SeedOf(held_out_.seed, kHeldOutStream)),
      negatives_seed_(SeedOf(plan.spec().negatives.seed, kNegativesStream)),
      keep_(part == RowPart::kTrain ? plan.spec().negatives.keep : 1),
      kept_weight_(plan.spec().negatives.correct == NegativeCorrection::kWeight
                       ? static_cast<float>(1 / keep_)
                       : 1) {}

bool RowChoice::HeldOut(const RowMarks& row) const {
  switch (held_out_.kind) {
    case HeldOutKind::kNone: return false;
    case HeldOutKind::kLast: return row.past_cut;
    case HeldOutKind::kAfter: return row.after;
    case HeldOutKind::kRandom: break;
  }
  const uint64_t what = held_out_.by == HeldOutBy::kGroup ? row.group
                        : held_out_.by == HeldOutBy::kId  ? row.id
                                                          : PlaceOf(row);
  return Draw(held_out_seed_, what) < held_out_.fraction;
}

bool RowChoice::KeepsNegative(RowMarks* row) const {
  if (row->label > 0) return true;
  row->weight *= kept_weight_;
  return Draw(negatives_seed_, PlaceOf(*row)) < keep_;
}

}  // namespace mariana
