#include "common/data/rows/sparse_rows.h"

#include <algorithm>
#include <cstring>

#include "common/base/error.h"
#include "common/data/rows/numbers.h"
#include "common/data/rows/row_parser.h"

namespace mariana {

SparseRows::SparseRows(const RowPlan& plan, RowEncoder* encoder) : plan_(plan), encoder_(encoder) {
  slots_.resize(64);
  while (slots_.size() < 4 * (plan.fields().size() + 4)) slots_.resize(2 * slots_.size());
  for (size_t i = 0; i < plan.fields().size(); ++i) {
    const FieldPlan& f = plan.fields()[i];
    if (f.column == "*") {
      other_ = static_cast<int>(i);
    } else {
      AddName(f.column);
    }
    if (f.bucket || f.value) numbers_.push_back(static_cast<uint16_t>(i));
  }
  AddName(plan.spec().weight);
  AddName(plan.spec().group);
  AddName(plan.spec().id);
  if (plan.spec().held_out.kind == HeldOutKind::kAfter) AddName(plan.spec().held_out.column);
}

void SparseRows::AddName(const std::string& name) {
  const uint64_t hash = HashText(name);
  size_t i = hash & (slots_.size() - 1);
  for (; slots_[i].name != 0; i = (i + 1) & (slots_.size() - 1)) {
    if (names_[slots_[i].name - 1] == name) return;
  }
  if (name.empty()) return;
  names_.push_back(name);
  Slot& slot = slots_[i];
  slot.name = static_cast<uint32_t>(names_.size());
  slot.length = static_cast<uint32_t>(name.size());
  std::memcpy(&slot.word, name.data(), std::min<size_t>(name.size(), 8));
  slot.begin = static_cast<uint32_t>(targets_.size());
  const RowSpec& spec = plan_.spec();
  for (size_t f = 0; f < plan_.fields().size(); ++f) {
    if (plan_.fields()[f].column != name) continue;
    const bool number = plan_.fields()[f].kind == RowFieldKind::kNumeric;
    targets_.push_back({number ? Target::kNumber : Target::kCategorical, static_cast<uint16_t>(f)});
  }
  if (spec.weight == name) targets_.push_back({Target::kWeight, 0});
  if (spec.group == name) targets_.push_back({Target::kGroup, 0});
  if (spec.id == name) targets_.push_back({Target::kId, 0});
  if (spec.held_out.kind == HeldOutKind::kAfter && spec.held_out.column == name) {
    targets_.push_back({Target::kTime, 0});
  }
  slot.end = static_cast<uint32_t>(targets_.size());
}

SparseRows::Targets SparseRows::Find(const char* name, size_t n) {
  if (targets_.empty()) return {};
  const uint64_t word = LowBytes(Load64(name), std::min<size_t>(n, 8));
  // Rows name their columns in the same order as a rule.
  size_t i = slots_[last_].next;
  if (!Matches(slots_[i], name, n, word)) {
    i = HashPadded(name, n) & (slots_.size() - 1);
    while (!Matches(slots_[i], name, n, word)) {
      if (slots_[i].name == 0) return {};
      i = (i + 1) & (slots_.size() - 1);
    }
    slots_[last_].next = static_cast<uint32_t>(i);
  }
  last_ = i;
  return {targets_.data() + slots_[i].begin, targets_.data() + slots_[i].end};
}

void SparseRows::Begin() {
  items_.clear();
  encoder_->ClearNumbers();
}

bool SparseRows::Text(Targets targets, const char* p, size_t n, float weight, RowMarks* marks,
                      std::string* what) {
  for (const Target* t = targets.begin; t != targets.end; ++t) {
    if (t->kind != Target::kNumber) {
      if (!One(*t, p, n, weight, marks, what)) return false;
      continue;
    }
    float x;
    if (!ParseReal(p, n, &x)) {
      *what = StrCat("column ", plan_.fields()[t->field].column, " is ", ShownText(p, n),
                     "; expected a number");
      return false;
    }
    if (!SetNumber(t->field, p, n, x, what)) return false;
  }
  return true;
}

bool SparseRows::Number(Targets targets, const char* p, size_t n, float x, RowMarks* marks,
                        std::string* what) {
  for (const Target* t = targets.begin; t != targets.end; ++t) {
    if (t->kind == Target::kNumber ? !SetNumber(t->field, p, n, x, what)
                                   : !One(*t, p, n, x, marks, what)) {
      return false;
    }
  }
  return true;
}

bool SparseRows::One(Target target, const char* p, size_t n, float weight, RowMarks* marks,
                     std::string* what) {
  switch (target.kind) {
    case Target::kCategorical: AddText(target.field, p, n, weight); break;
    case Target::kWeight:
      if (!ParseReal(p, n, &marks->weight) || marks->weight < 0) {
        *what = StrCat("the weight is ", ShownText(p, n), "; expected a number from 0 up");
        return false;
      }
      break;
    case Target::kGroup: marks->group = HashPadded(p, n); break;
    case Target::kId: marks->id = HashPadded(p, n); break;
    case Target::kTime: marks->after = IsAfterTime({p, n}, plan_.spec().held_out.after); break;
    case Target::kNumber: break;
  }
  return true;
}

bool SparseRows::SetNumber(uint16_t field, const char* p, size_t n, float x, std::string* what) {
  float* number = encoder_->numbers() + plan_.fields()[field].number;
  if (*number == *number) {
    *what = StrCat("column ", plan_.fields()[field].column, " comes twice, the second time as ",
                   ShownText(p, n), "; a number comes once a row");
    return false;
  }
  *number = x;
  return true;
}

void SparseRows::AddText(uint16_t field, const char* p, size_t n, float weight) {
  const FieldPlan& plan = plan_.fields()[field];
  if (plan.kind == RowFieldKind::kCategorical) {
    if (n > 0) items_.push_back({HashPadded(p, n), weight, field});
    return;
  }
  for (const char* const end = p + n; p < end;) {
    const char* stop = std::find(p, end, plan.separator);
    if (stop != p) items_.push_back({HashPadded(p, static_cast<size_t>(stop - p)), weight, field});
    p = stop + 1;
  }
}

void SparseRows::Emit(const Item& item) {
  const FieldPlan& plan = plan_.fields()[item.field];
  encoder_->Hash(plan.seed, item.field, item.hash, item.value, true);
  if (plan.crossed) encoder_->Cross(item.field, item.hash, item.value);
}

void SparseRows::Finish() {
  const auto before = [](const Item& a, const Item& b) { return a.field < b.field; };
  if (!std::is_sorted(items_.begin(), items_.end(), before)) {
    std::stable_sort(items_.begin(), items_.end(), before);
  }
  encoder_->BeginRow(items_.size());
  encoder_->CookNumbers();
  size_t i = 0;
  for (const uint16_t number : numbers_) {
    for (; i < items_.size() && items_[i].field < number; ++i) Emit(items_[i]);
    encoder_->Number(plan_.fields()[number], number);
  }
  for (; i < items_.size(); ++i) Emit(items_[i]);
}

}  // namespace mariana
