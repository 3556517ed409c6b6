// How a reduction over the rows of a matrix is dealt out to blocks: tiles of columns across, chunks
// of rows down, and sums within a block. All of it follows from the shape alone, so results do not
// depend on the GPU. Included by .cu files.
#pragma once

#include <algorithm>

#include "common/device/cuda/launch.h"

namespace mariana::cuda {

struct Tiles {
  dim3 block;  // columns x rows
  unsigned columns, chunks;
  int64_t chunk_rows;  // a multiple of block.y

  // `columns`: packs of a row; of `groups` matrices of at most `rows` rows.
  static Tiles Of(int64_t rows, int64_t columns, int64_t groups) {
    constexpr int64_t kBlocks = 1024;  // enough for any GPU of today
    Tiles t;
    const int across = std::min(32, Across(columns)), down = kThreads / across;
    t.block = dim3(static_cast<unsigned>(across), static_cast<unsigned>(down));
    t.columns = static_cast<unsigned>(CeilDiv(columns, across));
    const int64_t most = std::max<int64_t>(1, kBlocks / (t.columns * groups));
    const int64_t least = 4 * down;  // rows worth a block
    t.chunk_rows = CeilDiv(std::max(least, CeilDiv(rows, most)), down) * down;
    t.chunks = static_cast<unsigned>(CeilDiv(rows, t.chunk_rows));
    return t;
  }
  dim3 Grid(unsigned groups) const { return dim3(columns, chunks, groups); }
};

// Sum over the threads of a warp, the same tree always; lane 0 has it.
template <class T>
__device__ inline T WarpSum(T x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_down_sync(0xFFFFFFFFu, x, d);
  return x;
}

// Sum over kThreads threads; thread 0 has it. All threads call it; between two calls with one
// `warps` there must be a barrier.
template <class T>
__device__ inline T BlockSum(T x, T* warps) {
  x = WarpSum(x);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  if (threadIdx.x >= 32) return x;
  return WarpSum(threadIdx.x < kThreads / 32 ? warps[threadIdx.x] : T{0});
}

}  // namespace mariana::cuda
