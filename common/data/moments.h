// Moments: counts, sums and sums of squares of feature columns, and the normalisation they give.
// Values; thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/kaldi.h"

namespace mariana {

// x -> (x - mean) * inv_std, column by column.
struct Normaliser {
  std::vector<float> mean, inv_std;
  void Apply(Matrix* m) const;
};

class Moments {
 public:
  explicit Moments(int32_t dim) : sum_(dim), squares_(dim) {}
  // Kaldi's statistics: [2, dim + 1], the sums and the count over the sums of squares.
  static Moments FromKaldi(const MatrixOf<double>& stats);

  void Add(const Matrix& m);
  void Add(const Moments& other);
  // Columns that hardly vary (below 1e-8 of their mean square) are centred, not scaled.
  Normaliser Finish(bool variance) const;

 private:
  double count_ = 0;
  std::vector<double> sum_, squares_;
};

}  // namespace mariana
