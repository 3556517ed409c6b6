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
  equals_in_names_ |= name.find('=') != std::string::npos;
  Slot& slot = slots_[i];
  slot.name = static_cast<uint32_t>(names_.size());
  slot.length = static_cast<uint32_t>(name.size());
  std::memcpy(&slot.word, name.data(), std::min<size_t>(name.size(), 8));
  slot.begin = static_cast<uint32_t>(targets_.size());
  const RowSpec& spec = plan_.spec();
  for (size_t f = 0; f < plan_.fields().size(); ++f) {
    if (plan_.fields()[f].column != name) continue;
    const RowFieldKind kind = plan_.fields()[f].kind;
    targets_.push_back({kind == RowFieldKind::kNumeric ? Target::kNumber
                        : kind == RowFieldKind::kMulti ? Target::kMulti
                                                       : Target::kCategorical,
                        static_cast<uint16_t>(f)});
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

SparseRows::Targets SparseRows::Expect(const char* text, size_t n, size_t* length) {
  const size_t i = slots_[last_].next;
  const Slot& slot = slots_[i];
  if (equals_in_names_ || slot.name == 0 || slot.length > 8 || slot.length >= n ||
      text[slot.length] != '=' || LowBytes(Load64(text), slot.length) != slot.word) {
    return {};
  }
  *length = slot.length;
  last_ = i;
  return {targets_.data() + slot.begin, targets_.data() + slot.end};
}

void SparseRows::Begin() {
  items_.clear();
  last_field_ = 0;
  in_order_ = true;
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
    if (!ParsePaddedReal(p, n, &x)) {
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
    case Target::kCategorical:
      if (n > 0) Add({HashPadded(p, n), weight, target.field});
      break;
    case Target::kMulti: AddTexts(target.field, p, n, weight); break;
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

void SparseRows::AddTexts(uint16_t field, const char* p, size_t n, float weight) {
  const char separator = plan_.fields()[field].separator;
  for (const char* const end = p + n; p < end;) {
    const char* stop = std::find(p, end, separator);
    if (stop != p) Add({HashPadded(p, static_cast<size_t>(stop - p)), weight, field});
    p = stop + 1;
  }
}

size_t SparseRows::Emit(size_t i, uint16_t end) {
  const FieldPlan* const fields = plan_.fields().data();
  for (; i < items_.size() && items_[i].field < end; ++i) {
    const Item item = items_[i];
    const FieldPlan& plan = fields[item.field];
    encoder_->Hash(plan.seed, item.field, item.hash, item.value, true);
    if (plan.crossed) encoder_->Cross(item.field, item.hash, item.value);
  }
  return i;
}

void SparseRows::Finish() {
  if (!in_order_) {
    std::stable_sort(items_.begin(), items_.end(),
                     [](const Item& a, const Item& b) { return a.field < b.field; });
  }
  encoder_->BeginRow(items_.size());
  encoder_->CookNumbers();
  size_t i = 0;
  for (const uint16_t number : numbers_) {
    i = Emit(i, number);
    encoder_->Number(plan_.fields()[number], number);
  }
  Emit(i, UINT16_MAX);
}

}  // namespace mariana
