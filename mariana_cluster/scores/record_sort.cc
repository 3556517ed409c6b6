#include "mariana_cluster/scores/record_sort.h"

#include <array>
#include <utility>

namespace mariana {
namespace {

constexpr int kDigitBits = 11;
constexpr size_t kDigits = 1 << kDigitBits;
constexpr int kPasses = 6;               // 66 bits
constexpr size_t kFewRecords = 1 << 11;  // comparing is faster

size_t DigitOf(uint64_t record, int pass) { return record >> (pass * kDigitBits) & (kDigits - 1); }

}  // namespace

void SortRecords(std::vector<uint64_t>* records, std::vector<uint64_t>* scratch) {
  if (records->size() < kFewRecords) {
    std::sort(records->begin(), records->end());
    return;
  }
  std::vector<std::array<size_t, kDigits>> counts(kPasses);
  for (auto& c : counts) c.fill(0);
  for (const uint64_t record : *records) {
    for (int pass = 0; pass < kPasses; ++pass) {
      ++counts[static_cast<size_t>(pass)][DigitOf(record, pass)];
    }
  }
  scratch->resize(records->size());
  for (int pass = 0; pass < kPasses; ++pass) {
    auto& at = counts[static_cast<size_t>(pass)];
    if (at[DigitOf(records->front(), pass)] == records->size()) continue;
    size_t begin = 0;
    for (size_t& n : at) begin += std::exchange(n, begin);
    for (const uint64_t record : *records) (*scratch)[at[DigitOf(record, pass)]++] = record;
    records->swap(*scratch);
  }
}

void SortRecords(std::vector<GroupedRecord>* records, std::vector<GroupedRecord>* /*scratch*/) {
  std::sort(records->begin(), records->end());
}

}  // namespace mariana
