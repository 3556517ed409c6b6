// BlockUpdate: what a batch asks of the parameters, as bytes, for training whose updates are
// applied in order by servers (OrderedUpdates): one section for each server, with the keys and
// gradients of its shards and those of the dense slices that it owns, s, s + S, ...
//
//   section: empty, or {BlockHead, for each table {int64 n, keys[n], gradients[n * width]},
//                       gradients of dense slices}
// Thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mariana_cluster/dense_parameters.h"
#include "mariana_cluster/dense_step.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/table/table.h"

namespace mariana {

struct BlockHead {
  double scale = 1;  // of the dense gradients
};

class BlockUpdate {
 public:
  explicit BlockUpdate(int servers) : sections_(static_cast<size_t>(servers)) {}

  // `dense` null: none.
  void Set(const BlockHead& head, const ClickBatch& batch, const std::vector<Table>& tables,
           const DenseParameters* dense, const float* gradients);
  void Clear();  // a block without a batch
  std::vector<std::string_view> sections() const;

 private:
  std::vector<std::string> sections_;
  std::vector<int64_t> begin_;
  std::vector<int32_t> order_;
};

// How many bytes a block may come to, generously: address space.
int64_t MostBlockBytes(int64_t rows, const std::vector<ClickTable>& tables, int64_t dense_elements);

// Applies the sections of one server.
class BlockApplier {
 public:
  BlockApplier(int server, int servers, std::vector<std::shared_ptr<TableShard>> shards,
               DenseParameters* dense, DenseStep* dense_step)
      : server_(server),
        servers_(servers),
        shards_(std::move(shards)),
        dense_(dense),
        dense_step_(dense_step) {}

  // False for an empty one. `rate.scale` is the section's. `sparse_rate`: of all optimizers of rows
  // but FTRL.
  bool Apply(std::string_view section, DenseStep::Rate rate, float sparse_rate);

 private:
  int server_, servers_;
  std::vector<std::shared_ptr<TableShard>> shards_;  // [table]
  DenseParameters* dense_;
  DenseStep* dense_step_;
  std::vector<uint64_t> keys_;
  std::vector<char*> rows_;
  std::vector<float> gradients_;
};

}  // namespace mariana
