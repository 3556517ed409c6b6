// The sparse weights of a model file, row by row, without loading it; and the features whose keys
// are known without the data: the bias, numbers and their buckets. (A key is a hash: the texts of
// other features cannot be had back from it.) Free functions; thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/data/rows/row_plan.h"
#include "common/train/safetensors.h"
#include "mariana_cluster/model/model_spec.h"

namespace mariana {

// f(key, weights [width of the table]) for each row, by ascending key; hashed: the row's number.
// Error(kBadData) where the file's tensors are not such a table.
void ForEachStoredRow(const SafetensorsFile& file, const ClickTable& table,
                      const std::function<void(int64_t key, const float* weights)>& f);
int64_t StoredRows(const SafetensorsFile& file, const ClickTable& table);

// Names by the key that a row of this table is stored under: "bias", "I1", "I1 in [2, 5)".
std::multimap<int64_t, std::string> KnownFeatures(const RowPlan& plan, const ClickTable& table);

struct WeightSummary {
  std::string part;
  int64_t weights = 0, zeros = 0;
  double norm = 0;     // Euclidean
  double largest = 0;  // absolute
};
std::vector<WeightSummary> SummarizeWeights(const SafetensorsFile& file, const ClickTable& table);

}  // namespace mariana
