#include "common/device/cpu/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"
#include "common/device/formulas.h"

namespace mariana {
namespace {

constexpr int64_t kBlockElements = 1 << 14;
constexpr int64_t kSampledRows = 64;  // of the rough mean

const void* At(const void* p, int64_t i, Dtype t) {
  return p == nullptr ? nullptr : static_cast<const char*>(p) + i * SizeOf(t);
}
void* At(void* p, int64_t i, Dtype t) {
  return p == nullptr ? nullptr : static_cast<char*>(p) + i * SizeOf(t);
}

}  // namespace

void BatchNorms::Cut(const Args& a) {
  groups_ = a.groups;
  const int64_t fold = Fold(a.cols), strip = fold > 1 ? fold * a.cols : kNormLanes;
  lane_count_ = fold * a.cols;
  blocks_.clear();
  first_block_.clear();
  group_elements_.clear();
  int64_t start = 0;
  for (int64_t g = 0; g < a.groups; ++g) {
    const int64_t rows = a.group_rows[g] * a.pixels, folded = rows / fold;
    first_block_.push_back(static_cast<int64_t>(blocks_.size()));
    group_elements_.push_back(rows);
    for (int64_t lane = 0; lane < lane_count_; lane += strip) {
      const int64_t width = std::min(strip, lane_count_ - lane);
      const int64_t height = std::max<int64_t>(1, kBlockElements / width);
      for (int64_t r = 0; r < folded; r += height) {
        blocks_.push_back({{std::min(height, folded - r), lane_count_, width},
                           g,
                           start + r * lane_count_ + lane,
                           lane});
      }
    }
    if (const int64_t rest = rows % fold; rest > 0) {
      blocks_.push_back({{1, lane_count_, rest * a.cols}, g, start + folded * lane_count_, 0});
    }
    start += rows * a.cols;
  }
  first_block_.push_back(static_cast<int64_t>(blocks_.size()));
  const auto grow = [](auto* v, int64_t n) {
    if (static_cast<int64_t>(v->size()) < n) v->resize(n);
  };
  grow(&lanes_, 4 * groups_ * lane_count_);
  grow(&partial_, static_cast<int64_t>(blocks_.size()) * 2 * kNormLanes);
  grow(&sums_, 2 * a.cols);
}

void BatchNorms::Spread(float* lanes, int64_t cols) const {
  for (int64_t i = cols; i < lane_count_; ++i) lanes[i] = lanes[i - cols];
}

template <class F>
void BatchNorms::EachBlock(const F& f) {
  context_.pool->Split(static_cast<int64_t>(blocks_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(blocks_[i], &partial_[i * 2 * kNormLanes]);
  });
}

template <class F>
void BatchNorms::EachColumn(int64_t group, int64_t cols, const F& f) {
  double *first = sums_.data(), *second = first + cols;
  std::fill(first, second + cols, 0.0);
  for (int64_t i = first_block_[group]; i < first_block_[group + 1]; ++i) {
    const Block& b = blocks_[i];
    const float *s = &partial_[i * 2 * kNormLanes], *q = s + kNormLanes;
    for (int64_t j = 0; j < b.shape.width; j += cols) {
      const int64_t n = std::min(cols, b.shape.width - j);
      for (int64_t c = 0; c < n; ++c) {
        first[b.lane + c] += s[j + c];
        second[b.lane + c] += q[j + c];
      }
    }
  }
  for (int64_t c = 0; c < cols; ++c) f(c, first[c], second[c]);
}

// Lanes 0 of each group: the mean of some of its rows.
void BatchNorms::RoughMeans(const Args& a, const void* x, Dtype t) {
  int64_t start = 0;
  for (int64_t g = 0; g < groups_; start += group_elements_[g++] * a.cols) {
    const int64_t rows = group_elements_[g], count = std::min(rows, kSampledRows);
    float* shift = Lanes(0, g);
    std::fill(shift, shift + a.cols, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const void* row = At(x, start + rows * i / count * a.cols, t);
      for (int64_t c = 0; c < a.cols; ++c) {
        shift[c] += t == Dtype::kF32 ? static_cast<const float*>(row)[c]
                                     : formulas::FromBf16(static_cast<const uint16_t*>(row)[c]);
      }
    }
    for (int64_t c = 0; c < a.cols; ++c) shift[c] /= static_cast<float>(count);
    Spread(shift, a.cols);
  }
}

void BatchNorms::Train(const Args& a, const void* x, const float* gamma, const float* beta,
                       const void* residual, void* y, float* stats, Dtype t) {
  const Kernels& k = *context_.kernels;
  Cut(a);
  RoughMeans(a, x, t);
  EachBlock([&](const Block& b, float* partial) {
    k.norm_sums(b.shape, At(x, b.first, t), Lanes(0, b.group) + b.lane, partial,
                partial + kNormLanes, t);
  });
  for (int64_t g = 0; g < groups_; ++g) {
    float *mean = Lanes(0, g), *slope = Lanes(1, g), *offset = Lanes(2, g);
    float* out = stats + 2 * g * a.cols;
    const double inverse = 1.0 / static_cast<double>(group_elements_[g]);
    EachColumn(g, a.cols, [&](int64_t c, double sum, double square) {
      const double variance = std::max(0.0, (square - sum * sum * inverse) * inverse);
      out[c] = mean[c] = static_cast<float>(mean[c] + sum * inverse);
      out[a.cols + c] = static_cast<float>(variance);
      slope[c] = static_cast<float>(gamma[c] / std::sqrt(variance + a.epsilon));
      offset[c] = beta[c];
    });
    for (float* lanes : {mean, slope, offset}) Spread(lanes, a.cols);
  }
  const bool relu = a.activation == Activation::kRelu;
  EachBlock([&](const Block& b, float*) {
    k.norm_apply(b.shape, At(x, b.first, t), At(residual, b.first, t), Lanes(0, b.group) + b.lane,
                 Lanes(1, b.group) + b.lane, Lanes(2, b.group) + b.lane, relu, At(y, b.first, t),
                 t);
  });
}

void BatchNorms::Backward(const Args& a, const void* x, const void* y, const void* dy,
                          const float* gamma, const float* stats, void* dx, void* dresidual,
                          float* dgamma, float* dbeta, bool accumulate, Dtype t) {
  const Kernels& k = *context_.kernels;
  Cut(a);
  for (int64_t g = 0; g < groups_; ++g) {
    std::copy_n(stats + 2 * g * a.cols, a.cols, Lanes(0, g));
    Spread(Lanes(0, g), a.cols);
  }
  const void* mask = a.activation == Activation::kRelu ? y : nullptr;
  EachBlock([&](const Block& b, float* partial) {
    k.norm_backward_sums(b.shape, At(x, b.first, t), At(mask, b.first, t), At(dy, b.first, t),
                         Lanes(0, b.group) + b.lane, At(dresidual, b.first, t), partial,
                         partial + kNormLanes, t);
  });
  if (!accumulate) {
    std::fill(dgamma, dgamma + a.cols, 0.0f);
    std::fill(dbeta, dbeta + a.cols, 0.0f);
  }
  for (int64_t g = 0; g < groups_; ++g) {
    float *slope = Lanes(1, g), *shift = Lanes(2, g), *tilt = Lanes(3, g);
    const float* variance = stats + (2 * g + 1) * a.cols;
    const double inverse = 1.0 / static_cast<double>(group_elements_[g]);
    EachColumn(g, a.cols, [&](int64_t c, double sum, double product) {
      const double root = 1.0 / std::sqrt(double{variance[c]} + a.epsilon);
      dbeta[c] += static_cast<float>(sum);
      dgamma[c] += static_cast<float>(product * root);
      slope[c] = static_cast<float>(gamma[c] * root);
      shift[c] = static_cast<float>(sum * inverse);
      tilt[c] = static_cast<float>(product * root * root * inverse);
    });
    for (float* lanes : {slope, shift, tilt}) Spread(lanes, a.cols);
  }
  // What lies behind the activation is there already where it was asked for.
  const void* gradient = dresidual != nullptr ? dresidual : dy;
  if (dresidual != nullptr) mask = nullptr;
  EachBlock([&](const Block& b, float*) {
    k.norm_backward(b.shape, At(x, b.first, t), At(mask, b.first, t), At(gradient, b.first, t),
                    Lanes(0, b.group) + b.lane, Lanes(1, b.group) + b.lane,
                    Lanes(2, b.group) + b.lane, Lanes(3, b.group) + b.lane, At(dx, b.first, t), t);
  });
}

void BatchNorms::Infer(const Args& a, const void* x, const float* gamma, const float* beta,
                       const float* mean, const float* variance, const void* residual, void* y,
                       int64_t rows, Dtype t) {
  const int32_t group = static_cast<int32_t>(rows);
  Args all = a;
  all.group_rows = &group;
  all.groups = 1;
  Cut(all);
  float *center = Lanes(0, 0), *slope = Lanes(1, 0), *offset = Lanes(2, 0);
  for (int64_t c = 0; c < a.cols; ++c) {
    center[c] = mean[c];
    slope[c] = gamma[c] / std::sqrt(variance[c] + a.epsilon);
    offset[c] = beta[c];
  }
  for (float* lanes : {center, slope, offset}) Spread(lanes, a.cols);
  EachBlock([&](const Block& b, float*) {
    context_.kernels->norm_apply(b.shape, At(x, b.first, t), At(residual, b.first, t),
                                 center + b.lane, slope + b.lane, offset + b.lane,
                                 a.activation == Activation::kRelu, At(y, b.first, t), t);
  });
}

}  // namespace mariana
