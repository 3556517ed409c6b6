// Teams: threads that share a row of outputs, 32 where rows are short and the whole block else. A
// long row is read from memory once, and kept in shared memory for the later passes. Included by
// .cu files.
#pragma once

#include <math_constants.h>

#include "common/device/cuda/kernels.h"
#include "common/device/cuda/tiles.h"

namespace mariana::cuda {

inline constexpr int64_t kShortRow = 512;  // at most so many columns: a warp a row
inline constexpr int64_t kCachedBytes =
    48 << 10;  // of a row in shared memory, without asking for more
inline constexpr int kWarps = kThreads / 32;

struct Best {
  float value;
  int index;
};
__device__ inline Best Better(Best a, Best b) {  // the first of equals
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

// The threads of one row. Sum and Max give every thread the result.
template <int kLanes>
struct Team {
  int lane = static_cast<int>(threadIdx.x) % kLanes;
  int64_t row = int64_t{blockIdx.x} * (kThreads / kLanes) + threadIdx.x / kLanes;

  // What a thread has read or written before it, the others of the row may overwrite or read.
  __device__ void Meet() const {
    if constexpr (kLanes == 32) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
  __device__ double Sum(double x) const {
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, d);
    if constexpr (kLanes > 32) {
      __shared__ double warps[kWarps];
      __syncthreads();  // what an earlier call left has been read
      if (lane % 32 == 0) warps[lane / 32] = x;
      __syncthreads();
      x = 0;
      for (int w = 0; w < kWarps; ++w) x += warps[w];
    }
    return x;
  }
  __device__ Best Max(Best x) const {
    for (int d = 16; d > 0; d /= 2) {
      const Best other{__shfl_xor_sync(0xFFFFFFFFu, x.value, d),
                       __shfl_xor_sync(0xFFFFFFFFu, x.index, d)};
      x = Better(x, other);
    }
    if constexpr (kLanes > 32) {
      __shared__ Best warps[kWarps];
      __syncthreads();
      if (lane % 32 == 0) warps[lane / 32] = x;
      __syncthreads();
      x = warps[0];
      for (int w = 1; w < kWarps; ++w) x = Better(x, warps[w]);
    }
    return x;
  }
};

// f(i) for this thread's columns.
template <int kLanes, class F>
__device__ inline void EachColumn(int lane, int64_t cols, const F& f) {
  for (int64_t i = lane; i < cols; i += kLanes) f(i);
}

// A row of outputs, from shared memory once it has been read.
template <int kLanes, bool cached>
struct Row {
  const float* x;
  float* cache;
  __device__ float First(int64_t i) const {
    const float v = x[i];
    if constexpr (cached) cache[i] = v;  // read again by the same thread alone
    return v;
  }
  __device__ float operator[](int64_t i) const {
    if constexpr (cached) return cache[i];
    return x[i];
  }
};

// What a row's loss is, and whether its answer is right; summed by AddRows.
struct RowSums {
  double* loss;
  int* correct;
};

// f(lanes, cached), constants; and the blocks and bytes of shared memory that go with them.
template <class F>
void WithTeams(int64_t rows, int64_t cols, const F& f) {
  const auto row_bytes = static_cast<size_t>(cols * 4);
  if (cols <= kShortRow) {
    const auto blocks = static_cast<unsigned>(CeilDiv(rows, kWarps));
    f(std::integral_constant<int, 32>(), std::false_type(), blocks, size_t{0});
  } else if (row_bytes <= static_cast<size_t>(kCachedBytes) - 1024) {  // and the teams' own
    f(std::integral_constant<int, kThreads>(), std::true_type(), static_cast<unsigned>(rows),
      row_bytes);
  } else {
    f(std::integral_constant<int, kThreads>(), std::false_type(), static_cast<unsigned>(rows),
      size_t{0});
  }
}

inline RowSums RowsOf(Context* c, int64_t rows) {
  float* memory = c->Partials(3 * rows);
  auto* loss = reinterpret_cast<double*>(memory);
  return {loss, reinterpret_cast<int*>(loss + rows)};
}

// *sums += those of n rows, in an order that depends on n alone.
void AddRowSums(Context* c, const RowSums& rows, int64_t n, LossSums* sums);

}  // namespace mariana::cuda
