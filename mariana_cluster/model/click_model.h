// ClickModel: from parsed rows and the rows' sparse weights to logits, and from the gradient of the
// logits back to those of the weights. It holds no sparse weights: who calls it gathers them from
// tables (or wherever they are) and applies their gradients.
//
//   model.Prepare(&batch);                        // distinct keys of each table: needs rows alone
//   ... Locate and Gather batch.tables[t].keys -> .values
//   model.Forward(step, &batch);                  // -> batch.logits
//   model.Backward(step, &batch, gradients);      // -> batch.tables[t].gradients, net()->grads()
//   ... Apply .gradients to the rows, the net's to the dense parameters
//
// Gradients are sums over the batch's rows, as the published per-sample optimizers of sparse
// weights count them; those of the net too. Whoever wants the net to follow the mean gives the
// dense step (MakeOptimizerStep) a gradient_scale of 1 / rows.
//
// Threading: Prepare is const and may run in other threads on other batches; Forward and Backward
// belong to one thread at a time (the net's).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/data/rows/row_batch.h"
#include "common/nn/net.h"
#include "mariana_cluster/model/distinct_keys.h"
#include "mariana_cluster/model/model_spec.h"

namespace mariana {

// What a batch asks of one table.
struct TableBatch {
  std::vector<uint64_t> keys;    // distinct and canonical, in the order of first appearance
  std::vector<uint32_t> index;   // of each feature that lives in the table, into keys
  std::vector<char*> rows;       // [keys], the caller's: where they are
  std::vector<float> values;     // [keys, width], written by the caller
  std::vector<float> gradients;  // [keys, width], written by Backward

  // The features that live in the table, as RowBatch's vectors of these names. Empty when these are
  // all features of the batch: RowBatch's hold.
  std::vector<uint32_t> begin;
  std::vector<uint64_t> key;
  std::vector<uint16_t> field;
  std::vector<float> value;

  KeyScratch scratch;  // of Prepare
};

struct ClickBatch {
  RowBatch rows;
  std::vector<TableBatch> tables;  // as ClickModel::tables()
  std::vector<float> logits;       // [rows]
};

class ClickModel {
 public:
  struct Options {
    Device* device = nullptr;    // of the net; null where there is none
    int64_t max_rows = 0;        // of a batch
    int64_t joined_columns = 0;  // dense columns behind those of the plan
    Dtype compute = Dtype::kF32;
    bool train = true;
    uint64_t seed = 1;  // of initial values
    // Makes the net; empty: Net::Build.
    std::function<std::unique_ptr<Net>(const NetOptions&)> make_net;
  };
  // `net` is used where terms has net. Throws Error(kUsage) as MakeClickTables and Net::Build do.
  ClickModel(const ClickModelSpec& spec, const NetSpec& net, const RowPlan& plan,
             const Options& options);
  ~ClickModel();

  const std::vector<ClickTable>& tables() const;
  // Whether the linear term is all there is, and every feature has a weight in the one table.
  bool is_linear() const;
  Net* net();  // null without one; its values are the dense parameters
  // The net's input: embeddings by field, then dense columns; 0 without a net.
  int64_t input_columns() const;

  // Fills batch->tables of batch->rows. The bias of the linear term is the weight of a feature that
  // every row has; it is the first of its table's keys.
  void Prepare(ClickBatch* batch) const;
  void Forward(const StepContext& step, ClickBatch* batch);
  // `gradients` [rows]: of the sum over rows of the loss, by logit. Of `step`, both use train,
  // seed, first_sample and accumulate (of the net's gradients).
  void Backward(const StepContext& step, ClickBatch* batch, const float* gradients);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Loss of each row times its weight, summed, in double; gradients [rows] by logit, times the
// weight (null: none wanted).
double ClickLossOf(ClickLoss loss, const RowBatch& rows, const float* logits, float* gradients);

}  // namespace mariana
