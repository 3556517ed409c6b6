#include "common/data/rows/bad_rows.h"

#include <algorithm>

#include "common/base/error.h"

namespace mariana {

void BadRows::Add(const std::function<std::string()>& describe) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (++bad_ > most_) return;
  std::string text = describe();
  if (first_.empty()) first_ = text;
  if (tell_) tell_(bad_ == most_ ? text + " (further ones are only counted)" : text);
}

void BadRows::CountRows(int64_t rows) {
  std::unique_lock<std::mutex> lock(mutex_);
  rows_ += rows;
}

void BadRows::Check(bool at_end) const {
  std::unique_lock<std::mutex> lock(mutex_);
  const int64_t of = at_end ? rows_ : std::max<int64_t>(rows_, 100000);
  if (static_cast<double>(bad_) <= max_fraction_ * static_cast<double>(of)) return;
  throw Fail(ExitCode::kBadData, first_, "; ", bad_, " of ", rows_,
             " rows are malformed, more than max_bad_fraction ", max_fraction_);
}

int64_t BadRows::rows() const {
  std::unique_lock<std::mutex> lock(mutex_);
  return rows_;
}

int64_t BadRows::bad() const {
  std::unique_lock<std::mutex> lock(mutex_);
  return bad_;
}

std::string BadRows::first() const {
  std::unique_lock<std::mutex> lock(mutex_);
  return first_;
}

}  // namespace mariana
