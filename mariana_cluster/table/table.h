// Table: all shards of a sparse table as one thread of a worker sees them. See table_shard.h for
// what rows, keys and null rows are.
//
//   table.Locate(keys, n, Missing::kInsert, rows);   // once a batch, over its distinct keys
//   table.Gather(rows, n, values);
//   ... gradients ...
//   table.Apply(rows, n, gradients);
//
// Thread-compatible: it keeps scratch memory, so each thread makes its own over the same shards;
// what they do to the rows is safe at once (table_shard.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mariana_cluster/table/table_shard.h"

namespace mariana {

class Table {
 public:
  // All shards, in order.
  explicit Table(std::vector<std::shared_ptr<TableShard>> shards);

  const std::string& name() const { return shards_[0]->name(); }
  const RowLayout& layout() const { return shards_[0]->layout(); }
  int64_t width() const { return layout().width; }
  int shards() const { return static_cast<int>(shards_.size()); }
  TableShard* shard(int s) const { return shards_[static_cast<size_t>(s)].get(); }

  // As TableShard's, over keys of all shards.
  uint64_t Canonical(uint64_t key) const { return shards_[0]->Canonical(key); }
  void Locate(const uint64_t* keys, int64_t n, Missing missing, char** rows);
  void Gather(char* const* rows, int64_t n, float* values) const;
  void Apply(char* const* rows, int64_t n, const float* gradients, float rate = 1) const;

  // Sorts `keys` by shard, in their order within each: order[begin[s] .. begin[s + 1]) are the
  // positions of shard s's keys.
  void Partition(const uint64_t* keys, int64_t n, std::vector<int64_t>* begin,
                 std::vector<int32_t>* order) const;

 private:
  static void Birth(void* table, char* row);

  std::vector<std::shared_ptr<TableShard>> shards_;
  const RowKernels* kernels_;
  std::vector<int64_t> begin_;
  std::vector<int32_t> order_;
  std::vector<uint64_t> keys_;
  std::vector<char*> rows_;
};

}  // namespace mariana
