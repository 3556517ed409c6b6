// What a stored model's sparse weights come to, without loading it; and the features whose keys
// are known without the data: the bias, numbers and their buckets. (A key is a hash: the texts of
// other features cannot be had back from it.) Free functions; thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/data/rows/row_plan.h"
#include "mariana_cluster/model/model_spec.h"
#include "mariana_cluster/snapshot/stored_model.h"

namespace mariana {

// Names by the key that a row of this table is stored under: "bias", "I1", "I1 in [2, 5)".
std::multimap<int64_t, std::string> KnownFeatures(const RowPlan& plan, const ClickTable& table);

struct WeightSummary {
  std::string part;
  int64_t weights = 0, zeros = 0;
  double norm = 0;     // Euclidean
  double largest = 0;  // absolute
};
std::vector<WeightSummary> SummarizeWeights(const StoredModel& model, const ClickTable& table);

}  // namespace mariana
