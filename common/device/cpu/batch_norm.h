// Batch normalisation of the CPU device. The groups are cut into blocks of some 64 KB that do not
// depend on the number of threads; each block's sums are fp32 around a rough mean (no
// cancellation), and are added up in float64, in order: the result is the same for any number of
// threads. Where there are few columns, several rows are taken as one, so that vectors are full.
//
// Threading: as the device.
#pragma once

#include <vector>

#include "common/device/cpu/context.h"
#include "common/device/device.h"

namespace mariana {

class BatchNorms {
 public:
  using Args = Device::BatchNormArgs;
  explicit BatchNorms(const CpuContext& context) : context_(context) {}

  // As the device's.
  void Train(const Args& a, const void* x, const float* gamma, const float* beta,
             const void* residual, void* y, float* stats, Dtype t);
  void Backward(const Args& a, const void* x, const void* y, const void* dy, const float* gamma,
                const float* stats, void* dx, void* dresidual, float* dgamma, float* dbeta,
                bool accumulate, Dtype t);
  void Infer(const Args& a, const void* x, const float* gamma, const float* beta, const float* mean,
             const float* variance, const void* residual, void* y, int64_t rows, Dtype t);

 private:
  struct Block {
    NormBlock shape;
    int64_t group, first;  // first element
    int64_t lane;          // its parameter
  };
  void Cut(const Args& a);
  int64_t Fold(int64_t cols) const { return cols < kNormLanes ? kNormLanes / cols : 1; }
  float* Lanes(int64_t which, int64_t group) {
    return &lanes_[(which * groups_ + group) * lane_count_];
  }
  // Repeats the columns of a lane array from its first.
  void Spread(float* lanes, int64_t cols) const;
  template <class F>
  void EachBlock(const F& f);
  // f(column, first sum, second sum) of each group, in float64; the blocks' sums are in partial_.
  template <class F>
  void EachColumn(int64_t group, int64_t cols, const F& f);
  void RoughMeans(const Args& a, const void* x, Dtype t);

  const CpuContext context_;
  // Of the call that goes on; kept, for they are the same size again and again.
  std::vector<Block> blocks_;
  std::vector<int64_t> first_block_, group_elements_;  // of each group
  std::vector<float> lanes_, partial_;
  std::vector<double> sums_;
  int64_t groups_ = 0, lane_count_ = 0;
};

}  // namespace mariana
