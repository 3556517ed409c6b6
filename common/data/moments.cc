#include "common/data/moments.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

namespace mariana {

void Normaliser::Apply(Matrix* m) const {
  CHECK_EQ(mean.size(), static_cast<size_t>(m->cols));
  for (int32_t r = 0; r < m->rows; ++r) {
    float* x = m->row(r);
    for (int32_t c = 0; c < m->cols; ++c) x[c] = (x[c] - mean[c]) * inv_std[c];
  }
}

Moments Moments::FromKaldi(const MatrixOf<double>& stats) {
  CHECK(stats.rows == 2 && stats.cols > 1);
  const int32_t dim = stats.cols - 1;
  Moments m(dim);
  m.count_ = stats.row(0)[dim];
  std::copy_n(stats.row(0), dim, m.sum_.begin());
  std::copy_n(stats.row(1), dim, m.squares_.begin());
  return m;
}

void Moments::Add(const Matrix& m) {
  CHECK_EQ(sum_.size(), static_cast<size_t>(m.cols));
  count_ += m.rows;
  for (int32_t r = 0; r < m.rows; ++r) {
    const float* x = m.row(r);
    for (int32_t c = 0; c < m.cols; ++c) {
      sum_[c] += x[c];
      squares_[c] += double{x[c]} * x[c];
    }
  }
}

void Moments::Add(const Moments& other) {
  count_ += other.count_;
  for (size_t c = 0; c < sum_.size(); ++c) {
    sum_[c] += other.sum_[c];
    squares_[c] += other.squares_[c];
  }
}

Normaliser Moments::Finish(bool variance) const {
  Normaliser n{std::vector<float>(sum_.size()), std::vector<float>(sum_.size(), 1.0f)};
  if (count_ <= 0) return n;
  for (size_t c = 0; c < sum_.size(); ++c) {
    const double mean = sum_[c] / count_, square = squares_[c] / count_;
    n.mean[c] = static_cast<float>(mean);
    const double spread = square - mean * mean;
    if (variance && spread > 1e-8 * square)
      n.inv_std[c] = static_cast<float>(1 / std::sqrt(spread));
  }
  return n;
}

}  // namespace mariana
