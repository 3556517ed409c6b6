#include "mariana_cluster/table/table.h"

#include <glog/logging.h>

#include <limits>
#include <utility>

namespace mariana {

Table::Table(std::vector<std::shared_ptr<TableShard>> shards)
    : shards_(std::move(shards)), kernels_(&UsableRowKernels().front()) {
  CHECK(!shards_.empty());
  for (size_t s = 0; s < shards_.size(); ++s) {
    CHECK_EQ(shards_[s]->shard(), static_cast<int>(s)) << name();
    CHECK_EQ(shards_[s]->shards(), static_cast<int>(shards_.size())) << name();
  }
}

void Table::Partition(const uint64_t* keys, int64_t n, std::vector<int64_t>* begin,
                      std::vector<int32_t>* order) const {
  CHECK_LE(n, std::numeric_limits<int32_t>::max());
  const int count = shards();
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
  if (shards_.size() == 1) return shards_[0]->Locate(keys, n, missing, rows);
  Partition(keys, n, &begin_, &order_);
  keys_.resize(static_cast<size_t>(n));
  rows_.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) keys_[i] = keys[order_[i]];
  for (size_t s = 0; s < shards_.size(); ++s) {
    shards_[s]->Locate(keys_.data() + begin_[s], begin_[s + 1] - begin_[s], missing,
                       rows_.data() + begin_[s]);
  }
  for (int64_t i = 0; i < n; ++i) rows[order_[i]] = rows_[i];
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
  kernels_->apply({&layout(), rows, n, shards_[0]->stamp(), Birth, const_cast<Table*>(this)},
                  gradients, rate);
}

}  // namespace mariana
