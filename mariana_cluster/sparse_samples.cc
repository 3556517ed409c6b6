#include "mariana_cluster/sparse_samples.h"

#include <numeric>

namespace mariana {
namespace {

// f(first key, number of keys) for what belongs to all samples, then for each sample.
template <class F>
void ForEachSample(const ClickBatch& batch, const TableBatch& b, const F& f) {
  if (b.keys.empty()) return;
  f(size_t{0}, size_t{1});
  const std::vector<uint32_t>& begin = b.begin.empty() ? batch.rows.begin : b.begin;
  for (size_t r = 0; r + 1 < begin.size(); ++r) {
    f(size_t{1} + begin[r], size_t{begin[r + 1]} - begin[r]);
  }
}

}  // namespace

void SplitIntoSamples(ClickBatch* batch) {
  for (TableBatch& b : batch->tables) {
    if (b.keys.empty()) continue;
    std::vector<uint64_t> keys{b.keys[0]};
    keys.reserve(1 + b.index.size());
    for (const uint32_t k : b.index) keys.push_back(b.keys[k]);
    std::iota(b.index.begin(), b.index.end(), 1u);
    b.keys = std::move(keys);
  }
}

void GatherBySample(Missing missing, std::vector<Table>* tables, ClickBatch* batch) {
  for (size_t t = 0; t < tables->size(); ++t) {
    Table& table = (*tables)[t];
    TableBatch& b = batch->tables[t];
    const auto width = static_cast<size_t>(table.width());
    b.rows.resize(b.keys.size());
    b.values.resize(b.keys.size() * width);
    ForEachSample(*batch, b, [&](size_t first, size_t n) {
      table.Locate(&b.keys[first], static_cast<int64_t>(n), missing, &b.rows[first]);
      table.Gather(&b.rows[first], static_cast<int64_t>(n), &b.values[first * width]);
    });
  }
}

void ApplyBySample(float rate, std::vector<Table>* tables, ClickBatch* batch) {
  for (size_t t = 0; t < tables->size(); ++t) {
    Table& table = (*tables)[t];
    TableBatch& b = batch->tables[t];
    const auto width = static_cast<size_t>(table.width());
    ForEachSample(*batch, b, [&](size_t first, size_t n) {
      // One by one: a sample may have a feature twice.
      for (size_t i = first; i < first + n; ++i) {
        table.Apply(&b.rows[i], 1, &b.gradients[i * width], rate);
      }
    });
  }
}

}  // namespace mariana
