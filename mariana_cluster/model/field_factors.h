// FieldFactors: the term of a field-aware factorisation machine (Juan et al., "Field-aware
// factorization machines for CTR prediction", RecSys 2016):
//
//   sum over pairs of features i < j of <v_{i,field(j)}, v_{j,field(i)}> x_i x_j
//
// Features of one field are summed first, so that the cost goes by pairs of fields, not of
// features; pairs within a field are then (|s|^2 - sum_i |x_i v_i|^2) / 2, as in a factorisation
// machine.
// Threading: it keeps scratch memory; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mariana_cluster/model/click_kernels.h"

namespace mariana {

class FieldFactors {
 public:
  // The features of one table, and where factors begin in its keys' weights.
  struct View {
    TermView term;
    int64_t at;
  };

  // `numbers`: by the plan's fields, the place of a field among those with factors, -1 for none.
  // normalise: a row's interactions are divided by the sum of its squared values.
  FieldFactors(std::vector<int32_t> numbers, int64_t size, bool normalise);

  void Forward(const std::vector<View>& tables, float* logits);
  void Backward(const std::vector<View>& tables, const float* g);

 private:
  // Several features of one field, and where their sums are.
  struct Several {
    const View* view;
    uint32_t begin, end;  // features
    size_t group;
  };

  void Collect(const std::vector<View>& tables, int64_t row);
  void Fetch(const std::vector<View>& tables, int64_t row) const;
  void AddSeveral(const View& view, uint32_t begin, uint32_t end);
  float PairsWithin(const Several& s) const;
  void SpreadGradient(const Several& s, float g) const;
  float* SumsOf(size_t several) { return sums_.data() + several * width_; }

  const std::vector<int32_t> numbers_;
  const int64_t size_, width_;  // of one vector, of all vectors of a feature
  const bool normalise_;
  const ClickKernels* kernels_;
  // Of the row at hand.
  std::vector<FactorGroup> groups_;
  std::vector<Several> several_;
  float scale_ = 1;
  std::vector<float> sums_, gradients_;  // [fields, width]
};

}  // namespace mariana
