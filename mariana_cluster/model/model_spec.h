// ClickModelSpec: the `click:` section of a job: what a row's logit is made of, and the sparse
// weights behind it. Plain structs; thread-compatible.
//
//   terms: [linear]                 logistic regression
//   terms: [linear, fm]             factorisation machine (Rendle 2010)
//   terms: [linear, ffm]            field-aware factorisation machine (Juan et al. 2016)
//   terms: [net]                    a DNN over embeddings; with `cross` layers in it, DCN-v2
//                                   (Wang et al. 2021); with `dots`, DLRM (Naumov et al. 2019)
//   terms: [linear, net]            Wide & Deep (Cheng et al. 2016)
//   terms: [linear, fm, net]        DeepFM (Guo et al. 2017): fm and net share the embedding
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/data/rows/row_plan.h"
#include "mariana_cluster/table/row_layout.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {

enum class ClickLoss { kLogistic, kSquared };
enum class Pooling { kSum, kMean };

// The first-order weights: one for each feature, times its value.
struct LinearTermSpec {
  std::vector<std::string> fields;  // empty: all with sparse features, crosses included
  RowOptimizerSpec optimizer;       // FTRL
  void Describe(Fields* f);
};

// Fields whose embedding has another size.
struct FieldSizeSpec {
  std::vector<std::string> fields;
  int64_t size = 8;
  void Describe(Fields* f);
};

// A vector for each feature, pooled over the values of a field: [fields x size] to the net, with
// the dense columns behind them; the factors of `fm`, which needs all sizes equal.
struct EmbeddingSpec {
  std::vector<std::string> fields;  // empty: all with sparse features but crosses
  int64_t size = 8;
  std::vector<FieldSizeSpec> sizes;
  Pooling pooling = Pooling::kSum;  // of features of one field, each times its value
  double init = 0.01;               // uniform within +-init
  RowOptimizerSpec optimizer;       // AdaGrad
  EmbeddingSpec();
  void Describe(Fields* f);
};

// A vector for each feature and field that it meets.
struct FieldFactorsSpec {
  std::vector<std::string> fields;  // empty: all with sparse features but crosses
  int64_t size = 4;
  bool normalise = false;  // a row's interactions are divided by its features' sum of squares
  double init = 0.01;
  RowOptimizerSpec optimizer;  // AdaGrad
  FieldFactorsSpec();
  void Describe(Fields* f);
};

// How rows of sparse weights are kept (table_shard.h).
struct RowStoreSpec {
  TableForm form = TableForm::kHashed;
  int64_t bits = 22;
  int64_t max_rows = int64_t{1} << 28;
  int64_t admission = 1;
  int64_t evict_after_epochs = 0;  // keyed; 0: never
  void Describe(Fields* f);
};

struct ClickModelSpec {
  std::vector<std::string> terms{"linear"};
  ClickLoss loss = ClickLoss::kLogistic;
  LinearTermSpec linear;
  EmbeddingSpec embedding;
  FieldFactorsSpec factors;
  RowStoreSpec rows;
  bool has(const std::string& term) const;
  bool has_embedding() const { return has("fm") || has("net"); }
  void Describe(Fields* f);
};

// One sparse table, and the fields whose features live in it. Fields whose rows hold the same parts
// share a table, so that one row brings all that a feature needs. Its name tells the parts:
// "linear", "linear_embedding8", "embedding16", "linear_factors4".
struct ClickTable {
  TableSpec spec;
  std::vector<uint16_t> fields;  // RowPlan's numbers, ascending
  // Where a part begins in the row's weights; -1: the row has no such part.
  int linear = -1, embedding = -1, factors = -1;
  int64_t embedding_size = 0;
  bool bias = false;  // has the linear term's bias, the row of BiasKey()
};

// The feature that every row of a linear term has, with value 1: HashText("mariana.bias").
uint64_t BiasKey();

// Throws Error(kUsage) naming the key for fields that the plan does not have or that have no sparse
// features, and for sizes that `fm` cannot combine. Hashed tables share out 2^bits rows: each table
// has that many.
std::vector<ClickTable> MakeClickTables(const ClickModelSpec& spec, const RowPlan& plan,
                                        uint64_t seed);

}  // namespace mariana
