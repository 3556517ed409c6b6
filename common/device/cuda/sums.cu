#include "common/device/cuda/kernels.h"
#include "common/device/cuda/tiles.h"

namespace mariana::cuda {
namespace {

// A block: a chunk of rows of a tile of columns, W columns a thread. dy *= slope; the column sums
// of the chunk go to partial [chunks, cols], unless it is null.
template <int W, Activation a, class T>
__global__ void __launch_bounds__(kThreads)
    SlopeSums(const T* y, T* dy, int64_t rows, int64_t cols, int64_t chunk_rows, float* partial) {
  __shared__ float shared[kThreads * W];
  const int64_t column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * W;
  const int64_t begin = blockIdx.y * chunk_rows;
  const int64_t end = begin + chunk_rows < rows ? begin + chunk_rows : rows;
  Pack<float, W> sum{};
  if (column < cols) {
    for (int64_t r = begin + threadIdx.y; r < end; r += blockDim.y) {
      const int64_t at = r * cols + column;
      Pack<float, W> d = LoadPack<W>(dy + at);
      if constexpr (a != Activation::kNone) {
        const Pack<float, W> out = LoadPack<W>(y + at);
        for (int k = 0; k < W; ++k) d.v[k] *= formulas::Slope<a>(out.v[k]);
        StorePack<W>(d, dy + at);
      }
      for (int k = 0; k < W; ++k) sum.v[k] += d.v[k];
    }
  }
  if (partial == nullptr) return;  // so for the whole grid
  float* mine = shared + (threadIdx.y * blockDim.x + threadIdx.x) * W;
  for (int k = 0; k < W; ++k) mine[k] = sum.v[k];
  __syncthreads();
  if (threadIdx.y > 0 || column >= cols) return;
  for (unsigned down = 1; down < blockDim.y; ++down) {
    for (int k = 0; k < W; ++k) sum.v[k] += mine[down * blockDim.x * W + k];
  }
  for (int k = 0; k < W; ++k) partial[blockIdx.y * cols + column + k] = sum.v[k];
}

struct SumChunks {
  const float* partial;
  float* sums;
  int64_t cols;
  int chunks;
  bool accumulate;
  __device__ void operator()(int64_t column) const {
    float sum = 0;
    for (int i = 0; i < chunks; ++i) sum += partial[i * cols + column];
    sums[column] = accumulate ? sums[column] + sum : sum;
  }
};

constexpr int kSquaresOfThread = 32;
constexpr int64_t kSquaresOfBlock = int64_t{kThreads} * kSquaresOfThread;

// The four elements at i, zero beyond n.
template <bool aligned>
__device__ Pack<float, 4> Four(const float* x, int64_t i, int64_t n) {
  if (aligned && i + 4 <= n) return LoadPack<4>(x + i);
  Pack<float, 4> v{};
  for (int k = 0; k < 4; ++k) v.v[k] = i + k < n ? x[i + k] : 0.0f;
  return v;
}

template <bool aligned>
__global__ void __launch_bounds__(kThreads) Squares(const float* x, int64_t n, double* partial) {
  __shared__ double warps[kThreads / 32];
  double sum = 0;
  for (int j = 0; j < kSquaresOfThread / 4; ++j) {
    const int64_t i = blockIdx.x * kSquaresOfBlock + (j * kThreads + threadIdx.x) * int64_t{4};
    const Pack<float, 4> v = Four<aligned>(x, i, n);
    for (int k = 0; k < 4; ++k) sum += double{v.v[k]} * v.v[k];
  }
  sum = BlockSum(sum, warps);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block.
__global__ void __launch_bounds__(kThreads) AddAll(const double* x, int n, double* sum) {
  __shared__ double warps[kThreads / 32];
  double mine = 0;
  for (int i = threadIdx.x; i < n; i += kThreads) mine += x[i];
  mine = BlockSum(mine, warps);
  if (threadIdx.x == 0) *sum += mine;
}

template <int W, class T>
void LaunchSlopeSums(Context* c, Activation activation, const T* y, T* dy, int64_t rows,
                     int64_t cols, float* db, bool accumulate) {
  const Tiles t = Tiles::Of(rows, cols / W, 1);
  float* partial = c->Partials(t.chunks * cols);
  WithActivation(activation, [&](auto tag) {
    SlopeSums<W, decltype(tag)::kValue>
        <<<t.Grid(1), t.block, 0, c->compute>>>(y, dy, rows, cols, t.chunk_rows, partial);
  });
  c->Launched("slope and column sums");
  LaunchEach(c, "sums of chunks", cols,
             SumChunks{partial, db, cols, static_cast<int>(t.chunks), accumulate});
}

}  // namespace

void SlopeAndSums(Context* c, Activation a, const void* y, void* dy, int64_t rows, int64_t cols,
                  float* db, bool accumulate, Dtype t) {
  if (db == nullptr) {
    if (a != Activation::kNone) ActivateBackward(c, a, y, dy, dy, rows * cols, t);
    return;
  }
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* out = As(y, type);
    T* d = As(dy, type);
    if (cols % kPackOf<T> == 0 && Aligned(16, out, d)) {
      LaunchSlopeSums<kPackOf<T>>(c, a, out, d, rows, cols, db, accumulate);
    } else {
      LaunchSlopeSums<1>(c, a, out, d, rows, cols, db, accumulate);
    }
  });
}

void AddSumOfSquares(Context* c, const float* x, int64_t n, double* sum) {
  if (n <= 0) return;
  const int64_t blocks = CeilDiv(n, kSquaresOfBlock);
  auto* partial = reinterpret_cast<double*>(c->Partials(2 * blocks));
  if (Aligned(16, x)) {
    Squares<true><<<static_cast<unsigned>(blocks), kThreads, 0, c->compute>>>(x, n, partial);
  } else {
    Squares<false><<<static_cast<unsigned>(blocks), kThreads, 0, c->compute>>>(x, n, partial);
  }
  c->Launched("squares");
  AddAll<<<1, kThreads, 0, c->compute>>>(partial, static_cast<int>(blocks), sum);
  c->Launched("sum of squares");
}

}  // namespace mariana::cuda
