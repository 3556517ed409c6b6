// BadRows: counts rows and malformed lines, tells the first few, and ends the run when there are
// too many. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace mariana {

class BadRows {
 public:
  // `tell` gets one line, "FILE:LINE: what; what would be right", for each of the first `most`.
  BadRows(double max_fraction, std::function<void(const std::string&)> tell, int most = 10)
      : max_fraction_(max_fraction), tell_(std::move(tell)), most_(most) {}

  // A malformed line; `describe` makes its text, and is called for those that are told.
  void Add(const std::function<std::string()>& describe);
  // Lines read, malformed ones included.
  void CountRows(int64_t rows);
  // Throws Error(kBadData) when more than max_fraction are malformed: of what was read, at the end;
  // before it of at least 100,000 rows, so that a bad beginning does not end a good file.
  void Check(bool at_end) const;

  int64_t rows() const;
  int64_t bad() const;
  std::string first() const;  // what was told first

 private:
  const double max_fraction_;
  const std::function<void(const std::string&)> tell_;
  const int most_;
  mutable std::mutex mutex_;
  int64_t rows_ = 0, bad_ = 0;
  std::string first_;
};

}  // namespace mariana
