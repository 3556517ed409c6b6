#include "mariana_cluster/table/table.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace mariana {

Table::Table(std::vector<std::shared_ptr<TableShard>> shards)
    : shards_(std::move(shards)),
      kernels_(&UsableRowKernels().front()),
      linear_(&UsableLinearKernels().front()) {
  CHECK(!shards_.empty());
  for (size_t s = 0; s < shards_.size(); ++s) {
    CHECK_EQ(shards_[s]->shard(), shards_[0]->shard() + static_cast<int>(s)) << name();
    CHECK_EQ(shards_[s]->shards(), job_shards()) << name();
  }
}

std::vector<TableShard*> Table::all_shards() const {
  std::vector<TableShard*> all;
  for (const auto& s : shards_) all.push_back(s.get());
  return all;
}

void Table::Partition(const uint64_t* keys, int64_t n, std::vector<int64_t>* begin,
                      std::vector<int32_t>* order) const {
  CHECK_LE(n, std::numeric_limits<int32_t>::max());
  const int count = job_shards();
  begin->assign(static_cast<size_t>(count) + 1, 0);
  for (int64_t i = 0; i < n; ++i) ++(*begin)[TableShard::ShardOf(keys[i], count) + 1];
  for (int s = 0; s < count; ++s) (*begin)[s + 1] += (*begin)[s];
  std::vector<int64_t> next(begin->begin(), begin->end() - 1);
  order->resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    (*order)[next[TableShard::ShardOf(keys[i], count)]++] = static_cast<int32_t>(i);
  }
}

void Table::Locate(const uint64_t* keys, int64_t n, Missing missing, char** rows) {
  if (job_shards() == 1) return shards_[0]->Locate(keys, n, missing, rows);
  if (shards_[0]->form() == TableForm::kHashed) return LocateHashed(keys, n, rows);
  Partition(keys, n, &begin_, &order_);
  keys_.resize(static_cast<size_t>(n));
  rows_.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) keys_[i] = keys[order_[i]];
  if (!complete()) std::fill(rows_.begin(), rows_.end(), nullptr);
  for (const auto& shard : shards_) {
    const int64_t begin = begin_[shard->shard()], end = begin_[shard->shard() + 1];
    shard->Locate(keys_.data() + begin, end - begin, missing, rows_.data() + begin);
  }
  for (int64_t i = 0; i < n; ++i) rows[order_[i]] = rows_[i];
}

// Where hashed rows are follows from their keys: nothing is gained by visiting shards in order.
void Table::LocateHashed(const uint64_t* keys, int64_t n, char** rows) const {
  const int count = job_shards(), first = shards_[0]->shard();
  for (int64_t i = 0; i < n; ++i) {
    const auto s = static_cast<size_t>(TableShard::ShardOf(keys[i], count) - first);
    rows[i] = s < shards_.size() ? shards_[s]->HashedRow(keys[i]) : nullptr;
  }
}

void Table::Birth(void* table, char* row) {
  for (const auto& shard : static_cast<Table*>(table)->shards_) {
    if (shard->Holds(row)) return TableShard::Birth(shard.get(), row);
  }
  LOG(FATAL) << "a row of no shard";
}

void Table::Gather(char* const* rows, int64_t n, float* values) const {
  kernels_->gather({&layout(), rows, n, 0, Birth, const_cast<Table*>(this)}, values);
}

void Table::Apply(char* const* rows, int64_t n, const float* gradients, float rate) const {
  Keep(rows, n);
  kernels_->apply({&layout(), rows, n, shards_[0]->stamp(), Birth, const_cast<Table*>(this)},
                  gradients, rate);
}

void Table::Keep(char* const* rows, int64_t n) const {
  for (const auto& shard : shards_) shard->Keep(rows, n);
}

// Whether any sample has fields in another order than ascending, each once: then it may have a
// feature twice.
bool Table::FieldsRepeat(const Samples& s, int64_t first, int64_t last) {
  constexpr size_t kBlock = 1 << 15;  // what 16 bits can count: a loop that vectorises
  const uint16_t* field = s.field;
  int64_t falls = 0;
  for (size_t i = s.begin[first] + 1, end = s.begin[last]; i < end;) {
    const size_t stop = std::min(end, i + kBlock);
    uint16_t here = 0;
    for (; i < stop; ++i) here = static_cast<uint16_t>(here + (field[i] <= field[i - 1]));
    falls += here;
  }
  // Where a sample with features begins they may fall.
  for (int64_t r = first + 1; r < last; ++r) {
    const uint32_t i = s.begin[r];
    falls -= i > s.begin[first] && i < s.begin[r + 1] && field[i] <= field[i - 1];
  }
  return falls > 0;
}

void Table::Learn(const Samples& s, int64_t first, int64_t last, float* logits) {
  // So many at a time that their rows' addresses stay in the first-level cache.
  constexpr int64_t kSamples = 32;
  alignas(64) char nobody[64] = {};
  uint32_t most = 0;
  for (int64_t r = first; r < last; ++r) most = std::max(most, s.begin[r + 1] - s.begin[r]);
  blocks_.resize(most / 8 + 1);
  LinearSamples part = {};
  part.layout = &layout();
  part.nobody = nobody;
  part.one_by_one = FieldsRepeat(s, first, last);
  part.squared = s.squared;
  part.stamp = shards_[0]->stamp();
  part.scratch = blocks_.data();
  const auto locate = [&](const uint64_t* keys, int64_t n, char** rows) {
    Locate(keys, n, Missing::kInsert, rows);
    for (int64_t i = 0; i < n; ++i) {
      if (rows[i] == nullptr) rows[i] = nobody;
    }
  };
  locate(&s.bias, 1, &part.bias);
  Keep(&part.bias, 1);
  for (; first < last; first += part.samples) {
    part.samples = std::min(kSamples, last - first);
    const uint32_t begin = s.begin[first];
    const auto features = static_cast<int64_t>(s.begin[first + part.samples] - begin);
    located_.resize(static_cast<size_t>(features));
    locate(s.key + begin, features, located_.data());
    Keep(located_.data(), features);
    part.begin = s.begin + first;
    part.rows = located_.data();
    part.value = s.value + begin;
    part.label = s.label + first;
    part.weight = s.weight + first;
    linear_->learn(part, logits + first);
  }
}

}  // namespace mariana
