// NetTerm: the net of a click model. Its input is a row's embeddings, pooled by field, in the order
// of the fields, then the dense columns; zeros where a field is missing.
// Threading: one thread at a time (the net's).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/data/rows/row_batch.h"
#include "common/data/rows/row_plan.h"
#include "common/nn/net.h"
#include "mariana_cluster/model/click_kernels.h"
#include "mariana_cluster/model/click_model.h"

namespace mariana {

class NetTerm {
 public:
  // The features of one table, and where embeddings begin in its keys' weights.
  struct View {
    TermView term;
    int64_t at, size;
  };

  // Throws Error(kUsage) as Net::Build does; the net has one output.
  NetTerm(const NetSpec& spec, const std::vector<ClickTable>& tables, Pooling pooling,
          const RowPlan& plan, const ClickModel::Options& options);

  Net* net() { return net_.get(); }
  int64_t columns() const { return columns_; }

  // Adds to logits.
  void Forward(const StepContext& step, const RowBatch& rows, const std::vector<View>& tables,
               float* logits);
  void Backward(const StepContext& step, const std::vector<View>& tables, const float* g);

 private:
  PoolView PoolOf(const View& view) const {
    return {view.at, view.size, column_.data(), pooling_ == Pooling::kMean};
  }

  const ClickKernels* kernels_;
  const Pooling pooling_;
  std::vector<int32_t> column_;  // by field; -1: no embedding
  int64_t embedded_ = 0;         // columns of embeddings
  int64_t columns_ = 0;
  std::unique_ptr<Net> net_;
  Tensor input_;            // [max_rows, columns], compute type
  std::vector<float> row_;  // bf16: one row of the input in fp32
};

}  // namespace mariana
