// Table: the shards of a sparse table as one thread of a worker sees them: all, or those that its
// node has. See table_shard.h for what rows, keys and null rows are; keys of other nodes' shards
// have no row here (mariana_cluster/net brings their weights).
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

#include "mariana_cluster/table/linear_kernels.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {

class Table {
 public:
  // In order, without a gap.
  explicit Table(std::vector<std::shared_ptr<TableShard>> shards);

  const std::string& name() const { return shards_[0]->name(); }
  const RowLayout& layout() const { return shards_[0]->layout(); }
  int64_t width() const { return layout().width; }
  int shards() const { return static_cast<int>(shards_.size()); }  // here
  int job_shards() const { return shards_[0]->shards(); }
  TableShard* shard(int s) const { return shards_[static_cast<size_t>(s)].get(); }
  std::vector<TableShard*> all_shards() const;

  // As TableShard's, over keys of all shards.
  uint64_t Canonical(uint64_t key) const { return shards_[0]->Canonical(key); }
  void Locate(const uint64_t* keys, int64_t n, Missing missing, char** rows);
  void Gather(char* const* rows, int64_t n, float* values) const;
  void Apply(char* const* rows, int64_t n, const float* gradients, float rate = 1) const;

  // Whether Learn may be called: rows hold one FTRL weight each.
  bool LearnsBySample() const { return mariana::LearnsBySample(layout()); }
  // The samples [first, last) of a linear model, one after another (linear_kernels.h): features are
  // begin[first] to begin[last] of keys, fields and values, and what they need is made known as
  // Locate(kInsert) does it.
  struct Samples {
    const uint32_t* begin;
    const uint64_t* key;
    const uint16_t* field;
    const float* value;
    const float* label;
    const float* weight;
    uint64_t bias;  // the key that every sample has, with value 1
    bool squared;   // loss; else logistic
  };
  void Learn(const Samples& samples, int64_t first, int64_t last, float* logits);

  // Sorts `keys` by shard (of all), in their order within each: order[begin[s] .. begin[s + 1]) are
  // the positions of shard s's keys.
  void Partition(const uint64_t* keys, int64_t n, std::vector<int64_t>* begin,
                 std::vector<int32_t>* order) const;

 private:
  bool complete() const { return shards() == job_shards(); }
  void LocateHashed(const uint64_t* keys, int64_t n, char** rows) const;
  void Keep(char* const* rows, int64_t n) const;
  static bool FieldsRepeat(const Samples& samples, int64_t first, int64_t last);
  static void Birth(void* table, char* row);

  std::vector<std::shared_ptr<TableShard>> shards_;
  const RowKernels* kernels_;
  const LinearKernels* linear_;
  std::vector<int64_t> begin_;
  std::vector<int32_t> order_;
  std::vector<uint64_t> keys_;
  std::vector<char*> rows_;
  std::vector<char*> located_;       // of Learn
  std::vector<LinearBlock> blocks_;  // likewise
};

}  // namespace mariana
