// SplitLoss: softmax cross-entropy over classes that are split between the workers of a model. Each
// sums up its own classes and sends 5 floats a sample to the others; all end with the same loss.
// Threading: as Net.
#pragma once

#include <memory>
#include <vector>

#include "common/nn/net.h"
#include "common/nn/split_plan.h"

namespace mariana {

class SplitLoss {
 public:
  // Of a worker that has classes. options.split outlives it.
  SplitLoss(const NetOptions& options, float smoothing);
  // As SplitSoftmaxOp::Loss.
  void Loss(const float* logits, const int32_t* labels, float* gradient, float scale, int64_t rows,
            LossSums* sums);

 private:
  const std::vector<std::vector<int>>& messages_;  // [from][to]
  const size_t worker_;
  Transfers* const transfers_;
  Device* const device_;
  std::vector<int> part_of_;  // by worker: which part of the classes it has
  std::unique_ptr<SplitSoftmaxOp> op_;
  Tensor own_, all_;  // [rows, kSummary], [rows, parts, kSummary]
};

}  // namespace mariana
