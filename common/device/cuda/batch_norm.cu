// Batch normalisation by groups of rows. A thread keeps W columns and walks down its chunk of rows
// of one group; what a block found is merged over chunks in order, in float64.
#include "common/device/cuda/kernels.h"
#include "common/device/cuda/tiles.h"

namespace mariana::cuda {
namespace {

constexpr int kMostGroups = 128;  // of one launch: borders travel as kernel arguments

// Rows (of cols values) [first[g], first[g + 1]) are group g.
struct Groups {
  int32_t first[kMostGroups + 1];
};

// A block's rows of its group, and a thread's columns.
struct Place {
  int64_t begin, end, cols, column;
  bool inside;
};
template <int W>
__device__ inline Place PlaceOf(const Groups& groups, int64_t cols, int64_t chunk_rows) {
  Place p;
  const int64_t first = groups.first[blockIdx.z], last = groups.first[blockIdx.z + 1];
  p.begin = first + blockIdx.y * chunk_rows;
  p.end = p.begin + chunk_rows < last ? p.begin + chunk_rows : last;
  p.cols = cols;
  p.column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * W;
  p.inside = p.column < cols;
  return p;
}

// Mean and sum of squared differences of so many values.
template <class Real>
struct Moments {
  Real n, mean, squares;
};
// Of both together (Chan, Golub and LeVeque 1979).
template <class Real>
__device__ inline Moments<Real> Merge(const Moments<Real>& a, const Moments<Real>& b) {
  if (b.n == 0) return a;
  if (a.n == 0) return b;
  const Real n = a.n + b.n, delta = b.mean - a.mean, share = b.n / n;
  return {n, a.mean + delta * share, a.squares + b.squares + delta * delta * a.n * share};
}

// partial: [groups, chunks, 2, cols], mean and squares of each chunk. Sums are of x less the first
// value that the thread sees, so that a large mean takes no digits.
template <int W, class T>
__global__ void __launch_bounds__(kThreads)
    NormMoments(Groups groups, const T* x, int64_t cols, int64_t chunk_rows, float* partial) {
  __shared__ float means[kThreads * W], squares[kThreads * W];
  const Place p = PlaceOf<W>(groups, cols, chunk_rows);
  if (p.begin >= p.end) return;  // a short group: the whole block
  const int64_t rows = p.end - p.begin;
  Pack<float, W> shift{}, sum{}, square{};
  const int64_t mine = p.begin + threadIdx.y;
  if (p.inside && mine < p.end) {
    shift = LoadPack<W>(x + mine * cols + p.column);
    for (int64_t r = mine; r < p.end; r += blockDim.y) {
      const Pack<float, W> v = LoadPack<W>(x + r * cols + p.column);
      for (int k = 0; k < W; ++k) {
        const float d = v.v[k] - shift.v[k];
        sum.v[k] += d;
        square.v[k] += d * d;
      }
    }
  }
  // Rows of the chunk that thread y of a column has.
  const auto count = [&](unsigned y) {
    return static_cast<float>(rows > y ? (rows - y + blockDim.y - 1) / blockDim.y : 0);
  };
  const int at = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x) * W;
  const float n = count(threadIdx.y);
  for (int k = 0; k < W; ++k) {
    const float offset = n > 0 ? sum.v[k] / n : 0.0f;
    means[at + k] = shift.v[k] + offset;
    squares[at + k] = square.v[k] - sum.v[k] * offset;
  }
  __syncthreads();
  if (threadIdx.y > 0 || !p.inside) return;
  const int64_t chunk = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  for (int k = 0; k < W; ++k) {
    Moments<float> all{0, 0, 0};
    for (unsigned y = 0; y < blockDim.y; ++y) {
      const int from = at + static_cast<int>(y * blockDim.x) * W + k;
      all = Merge(all, {count(y), means[from], squares[from]});
    }
    partial[2 * chunk * cols + p.column + k] = all.mean;
    partial[(2 * chunk + 1) * cols + p.column + k] = all.squares;
  }
}

// stats: [groups, 2, cols]. Index: group * cols + column.
struct NormStats {
  Groups groups;
  const float* partial;
  float* stats;
  int64_t cols, chunk_rows;
  int chunks;
  __device__ void operator()(int64_t i) const {
    const int64_t g = i / cols, column = i % cols;
    const int64_t rows = groups.first[g + 1] - groups.first[g];
    Moments<double> all{0, 0, 0};
    for (int64_t chunk = 0, done = 0; done < rows; ++chunk, done += chunk_rows) {
      const double n = static_cast<double>(rows - done < chunk_rows ? rows - done : chunk_rows);
      const float* from = partial + 2 * (g * chunks + chunk) * cols + column;
      all = Merge(all, {n, from[0], from[cols]});
    }
    stats[2 * g * cols + column] = static_cast<float>(all.mean);
    const double variance = all.squares > 0 ? all.squares / all.n : 0.0;
    // NaN and infinity show.
    stats[(2 * g + 1) * cols + column] =
        static_cast<float>(all.squares == all.squares ? variance : all.squares);
  }
};

// y = (x - mean) * gamma / sqrt(variance + epsilon) + beta, + residual, ReLU. Statistics of the
// next group are `stride` floats on.
template <int W, class T>
__global__ void __launch_bounds__(kThreads)
    NormApply(Groups groups, const T* x, const T* residual, T* y, int64_t cols, int64_t chunk_rows,
              const float* gamma, const float* beta, const float* mean, const float* variance,
              int64_t stride, float epsilon, bool relu) {
  const Place p = PlaceOf<W>(groups, cols, chunk_rows);
  if (!p.inside) return;
  float center[W], slope[W], offset[W];
  for (int k = 0; k < W; ++k) {
    const int64_t column = p.column + k, of_group = blockIdx.z * stride + column;
    center[k] = mean[of_group];
    slope[k] = gamma[column] / sqrtf(variance[of_group] + epsilon);
    offset[k] = beta[column];
  }
  for (int64_t r = p.begin + threadIdx.y; r < p.end; r += blockDim.y) {
    const int64_t at = r * cols + p.column;
    Pack<float, W> v = LoadPack<W>(x + at), more{};
    if (residual != nullptr) more = LoadPack<W>(residual + at);
    for (int k = 0; k < W; ++k) {
      const float out = (v.v[k] - center[k]) * slope[k] + offset[k] + more.v[k];
      v.v[k] = relu ? formulas::Apply<Activation::kRelu>(out) : out;
    }
    StorePack<W>(v, y + at);
  }
}

// With g = dy where y > 0 (everywhere if y is null): partial [groups, chunks, 2, cols], sums of g
// and of g * (x - mean) over each chunk; g itself to copy, if not null.
template <int W, class T>
__global__ void __launch_bounds__(kThreads)
    NormSlopes(Groups groups, const T* x, const T* y, const T* dy, T* copy, int64_t cols,
               int64_t chunk_rows, const float* stats, float* partial) {
  __shared__ float sums[kThreads * W], products[kThreads * W];
  const Place p = PlaceOf<W>(groups, cols, chunk_rows);
  if (p.begin >= p.end) return;
  Pack<float, W> sum{}, product{}, mean{};
  if (p.inside) {
    for (int k = 0; k < W; ++k) mean.v[k] = stats[2 * blockIdx.z * cols + p.column + k];
    for (int64_t r = p.begin + threadIdx.y; r < p.end; r += blockDim.y) {
      const int64_t at = r * cols + p.column;
      const Pack<float, W> v = LoadPack<W>(x + at);
      Pack<float, W> g = LoadPack<W>(dy + at);
      if (y != nullptr) {
        const Pack<float, W> out = LoadPack<W>(y + at);
        for (int k = 0; k < W; ++k) g.v[k] = out.v[k] > 0.0f ? g.v[k] : 0.0f;
      }
      if (copy != nullptr) StorePack<W>(g, copy + at);
      for (int k = 0; k < W; ++k) {
        sum.v[k] += g.v[k];
        product.v[k] += g.v[k] * (v.v[k] - mean.v[k]);
      }
    }
  }
  const int at = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x) * W;
  for (int k = 0; k < W; ++k) {
    sums[at + k] = sum.v[k];
    products[at + k] = product.v[k];
  }
  __syncthreads();
  if (threadIdx.y > 0 || !p.inside) return;
  const int64_t chunk = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  for (int k = 0; k < W; ++k) {
    float s = 0, q = 0;
    for (unsigned down = 0; down < blockDim.y; ++down) {
      const int from = at + static_cast<int>(down * blockDim.x) * W + k;
      s += sums[from];
      q += products[from];
    }
    partial[2 * chunk * cols + p.column + k] = s;
    partial[(2 * chunk + 1) * cols + p.column + k] = q;
  }
}

// sums: [groups, 2, cols] of the partial ones. Index: group * cols + column.
struct NormSums {
  Groups groups;
  const float* partial;
  double* sums;
  int64_t cols, chunk_rows;
  int chunks;
  __device__ void operator()(int64_t i) const {
    const int64_t g = i / cols, column = i % cols;
    const int64_t rows = groups.first[g + 1] - groups.first[g];
    double sum = 0, product = 0;
    for (int64_t chunk = 0, done = 0; done < rows; ++chunk, done += chunk_rows) {
      const float* from = partial + 2 * (g * chunks + chunk) * cols + column;
      sum += from[0];
      product += from[cols];
    }
    sums[2 * g * cols + column] = sum;
    sums[(2 * g + 1) * cols + column] = product;
  }
};

struct NormParameters {
  const double* sums;
  const float* stats;
  float *dgamma, *dbeta;
  int64_t cols;
  int groups;
  float epsilon;
  bool accumulate;
  __device__ void operator()(int64_t column) const {
    float slopes = accumulate ? dgamma[column] : 0.0f, shifts = accumulate ? dbeta[column] : 0.0f;
    for (int g = 0; g < groups; ++g) {
      const double variance = stats[(2 * g + 1) * cols + column];
      shifts += static_cast<float>(sums[2 * g * cols + column]);
      slopes += static_cast<float>(sums[(2 * g + 1) * cols + column] / sqrt(variance + epsilon));
    }
    dgamma[column] = slopes;
    dbeta[column] = shifts;
  }
};

// dx = slope * (g - shift - (x - mean) * tilt).
template <int W, class T>
__global__ void __launch_bounds__(kThreads)
    NormBackward(Groups groups, const T* x, const T* y, const T* dy, T* dx, int64_t cols,
                 int64_t chunk_rows, const float* gamma, const float* stats, const double* sums,
                 float epsilon) {
  const Place p = PlaceOf<W>(groups, cols, chunk_rows);
  if (!p.inside) return;
  const double inverse =
      1.0 / static_cast<double>(groups.first[blockIdx.z + 1] - groups.first[blockIdx.z]);
  float mean[W], slope[W], shift[W], tilt[W];
  for (int k = 0; k < W; ++k) {
    const int64_t column = p.column + k, of_group = 2 * blockIdx.z * cols + column;
    const double root = 1.0 / sqrt(double{stats[of_group + cols]} + epsilon);
    mean[k] = stats[of_group];
    slope[k] = static_cast<float>(gamma[column] * root);
    shift[k] = static_cast<float>(sums[of_group] * inverse);
    tilt[k] = static_cast<float>(sums[of_group + cols] * root * root * inverse);
  }
  for (int64_t r = p.begin + threadIdx.y; r < p.end; r += blockDim.y) {
    const int64_t at = r * cols + p.column;
    const Pack<float, W> v = LoadPack<W>(x + at);
    Pack<float, W> g = LoadPack<W>(dy + at);
    if (y != nullptr) {
      const Pack<float, W> out = LoadPack<W>(y + at);
      for (int k = 0; k < W; ++k) g.v[k] = out.v[k] > 0.0f ? g.v[k] : 0.0f;
    }
    for (int k = 0; k < W; ++k) {
      g.v[k] = slope[k] * (g.v[k] - shift[k] - (v.v[k] - mean[k]) * tilt[k]);
    }
    StorePack<W>(g, dx + at);
  }
}

// Up to kMostGroups groups at a time: f(borders, how many, index of the first, most rows of one).
// Rows count from the first group's.
template <class F>
void EachLaunch(const Device::BatchNormArgs& a, const F& f) {
  int64_t before = 0;  // rows of the launches before
  for (int g = 0; g < a.groups; g += kMostGroups) {
    Groups groups{};
    const int count = std::min(kMostGroups, a.groups - g);
    int64_t most = 0;
    for (int i = 0; i < count; ++i) {
      const int64_t rows = a.group_rows[g + i] * a.pixels;
      groups.first[i + 1] = groups.first[i] + static_cast<int32_t>(rows);
      most = std::max(most, rows);
    }
    f(groups, count, g, most, before);
    before += groups.first[count];
  }
}

template <class T>
const T* At(const void* p, int64_t i) {
  return p == nullptr ? nullptr : static_cast<const T*>(p) + i;
}
template <class T>
T* At(void* p, int64_t i) {
  return p == nullptr ? nullptr : static_cast<T*>(p) + i;
}

// f(pack width, type): constants.
template <class F, class... P>
void WithNormPacks(Dtype t, int64_t cols, const F& f, const P*... p) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (cols % kPackOf<T> == 0 && Aligned(16, p...)) {
      f(std::integral_constant<int, kPackOf<T>>(), type);
    } else {
      f(std::integral_constant<int, 1>(), type);
    }
  });
}

}  // namespace

void BatchNormTrain(Context* c, const Device::BatchNormArgs& a, const void* x, const float* gamma,
                    const float* beta, const void* residual, void* y, float* stats, Dtype dtype) {
  const int64_t cols = a.cols;
  const auto run = [&](auto pack, auto* type) {
    constexpr int kW = decltype(pack)::value;
    using T = std::remove_pointer_t<decltype(type)>;
    EachLaunch(a, [&](const Groups& groups, int count, int g, int64_t most, int64_t row) {
      const Tiles t = Tiles::Of(most, cols / kW, count);
      const T* from = At<T>(x, row * cols);
      float* of_launch = stats + int64_t{2} * g * cols;
      float* partial = c->Partials(2 * count * int64_t{t.chunks} * cols);
      NormMoments<kW>
          <<<t.Grid(count), t.block, 0, c->compute>>>(groups, from, cols, t.chunk_rows, partial);
      c->Launched("batch norm moments");
      LaunchEach(
          c, "batch norm statistics", count * cols,
          NormStats{groups, partial, of_launch, cols, t.chunk_rows, static_cast<int>(t.chunks)});
      NormApply<kW><<<t.Grid(count), t.block, 0, c->compute>>>(
          groups, from, At<T>(residual, row * cols), At<T>(y, row * cols), cols, t.chunk_rows,
          gamma, beta, of_launch, of_launch + cols, 2 * cols, a.epsilon,
          a.activation == Activation::kRelu);
      c->Launched("batch norm");
    });
  };
  WithNormPacks(dtype, cols, run, static_cast<const char*>(x), static_cast<const char*>(residual),
                static_cast<const char*>(y));
}

void BatchNormBackward(Context* c, const Device::BatchNormArgs& a, const void* x, const void* y,
                       const void* dy, const float* gamma, const float* stats, void* dx,
                       void* dresidual, float* dgamma, float* dbeta, bool accumulate, Dtype dtype) {
  const int64_t cols = a.cols;
  const void* mask = a.activation == Activation::kRelu ? y : nullptr;
  const auto run = [&](auto pack, auto* type) {
    constexpr int kW = decltype(pack)::value;
    using T = std::remove_pointer_t<decltype(type)>;
    EachLaunch(a, [&](const Groups& groups, int count, int g, int64_t most, int64_t row) {
      const Tiles t = Tiles::Of(most, cols / kW, count);
      const int64_t at = row * cols;
      const float* of_launch = stats + int64_t{2} * g * cols;
      // First the groups' sums, in doubles, then the chunks'.
      const int64_t sums = 2 * count * cols;
      float* memory = c->Partials(2 * sums + sums * t.chunks);
      auto* group_sums = reinterpret_cast<double*>(memory);
      float* partial = memory + 2 * sums;
      NormSlopes<kW><<<t.Grid(count), t.block, 0, c->compute>>>(
          groups, At<T>(x, at), At<T>(mask, at), At<T>(dy, at), At<T>(dresidual, at), cols,
          t.chunk_rows, of_launch, partial);
      c->Launched("batch norm slopes");
      LaunchEach(
          c, "batch norm sums", count * cols,
          NormSums{groups, partial, group_sums, cols, t.chunk_rows, static_cast<int>(t.chunks)});
      LaunchEach(c, "batch norm parameters", cols,
                 NormParameters{group_sums, of_launch, dgamma, dbeta, cols, count, a.epsilon,
                                accumulate || g > 0});
      // What lies behind the activation is there already where it was asked for.
      const void* gradient = dresidual != nullptr ? dresidual : dy;
      const void* cut = dresidual != nullptr ? nullptr : mask;
      NormBackward<kW><<<t.Grid(count), t.block, 0, c->compute>>>(
          groups, At<T>(x, at), At<T>(cut, at), At<T>(gradient, at), At<T>(dx, at), cols,
          t.chunk_rows, gamma, of_launch, group_sums, a.epsilon);
      c->Launched("batch norm backward");
    });
  };
  WithNormPacks(dtype, cols, run, static_cast<const char*>(x), static_cast<const char*>(mask),
                static_cast<const char*>(dy), static_cast<const char*>(dx),
                static_cast<const char*>(dresidual));
}

void BatchNormInfer(Context* c, const Device::BatchNormArgs& a, const void* x, const float* gamma,
                    const float* beta, const float* mean, const float* variance,
                    const void* residual, void* y, int64_t rows, Dtype dtype) {
  const int64_t cols = a.cols;
  const auto run = [&](auto pack, auto* type) {
    constexpr int kW = decltype(pack)::value;
    using T = std::remove_pointer_t<decltype(type)>;
    Groups all{};
    all.first[1] = static_cast<int32_t>(rows * a.pixels);
    const Tiles t = Tiles::Of(all.first[1], cols / kW, 1);
    NormApply<kW><<<t.Grid(1), t.block, 0, c->compute>>>(
        all, At<T>(x, 0), At<T>(residual, 0), At<T>(y, 0), cols, t.chunk_rows, gamma, beta, mean,
        variance, 0, a.epsilon, a.activation == Activation::kRelu);
    c->Launched("batch norm of averages");
  };
  if (rows <= 0) return;
  WithNormPacks(dtype, cols, run, static_cast<const char*>(x), static_cast<const char*>(residual),
                static_cast<const char*>(y));
}

}  // namespace mariana::cuda
