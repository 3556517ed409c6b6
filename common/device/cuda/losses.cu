// Losses of rows of outputs: a team of threads a row (teams.h).
#include "common/base/error.h"
#include "common/device/cuda/teams.h"

namespace mariana::cuda {
namespace {

extern __shared__ float row_cache[];

template <int kLanes, bool cached>
__global__ void __launch_bounds__(kThreads)
    SoftmaxRows(const float* logits, const int32_t* labels, float* gradient, float scale,
                int64_t rows, int64_t cols, float smoothing, RowSums out) {
  const Team<kLanes> team;
  if (team.row >= rows) return;  // whole teams
  const Row<kLanes, cached> x{logits + team.row * cols, row_cache};
  const int32_t label = labels[team.row];
  const bool valid = label >= 0 && label < cols;
  // Before the gradient takes the place of the outputs.
  const float at_label = valid ? x.x[label] : CUDART_NAN_F;  // no such label: the loss shows it
  team.Meet();
  Best best{-CUDART_INF_F, 0x7FFFFFFF};
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
    const float v = x.First(i);
    if (v > best.value) best = {v, static_cast<int>(i)};
  });
  best = team.Max(best);
  const float max = best.value;
  float part = 0, all = 0;
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
    part += formulas::Exp(x[i] - max);
    all += x[i] - max;
  });
  const double sum = team.Sum(part);
  double expected = at_label;
  // Apart, so that 0 * infinity does not come in.
  if (smoothing > 0) {
    expected += smoothing * (team.Sum(all) / static_cast<double>(cols) + max - at_label);
  }
  if (gradient != nullptr) {
    const float k = static_cast<float>(scale / sum);
    const float rest = scale * smoothing / static_cast<float>(cols);
    float* g = gradient + team.row * cols;
    EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
      const float e = formulas::Exp(x[i] - max) * k - rest;
      g[i] = i == label ? e - scale * (1.0f - smoothing) : e;
    });
  }
  if (team.lane == 0) {
    out.loss[team.row] = log(sum) + max - expected;
    out.correct[team.row] = best.index == label;
  }
}

template <int kLanes, bool cached>
__global__ void __launch_bounds__(kThreads)
    LogSoftmaxRows(const float* logits, float* y, int64_t rows, int64_t cols) {
  const Team<kLanes> team;
  if (team.row >= rows) return;
  const Row<kLanes, cached> x{logits + team.row * cols, row_cache};
  Best best{-CUDART_INF_F, 0x7FFFFFFF};
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
    const float v = x.First(i);
    if (v > best.value) best = {v, static_cast<int>(i)};
  });
  const float max = team.Max(best).value;
  float part = 0;
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) { part += formulas::Exp(x[i] - max); });
  const float log_sum = static_cast<float>(log(team.Sum(part)));
  float* to = y + team.row * cols;
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) { to[i] = x[i] - max - log_sum; });
}

template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    ArgMaxRows(const float* x, int32_t* index, int64_t rows, int64_t cols) {
  const Team<kLanes> team;
  if (team.row >= rows) return;
  Best best{-CUDART_INF_F, 0x7FFFFFFF};
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
    const float v = x[team.row * cols + i];
    if (v > best.value) best = {v, static_cast<int>(i)};
  });
  best = team.Max(best);
  // Nothing is larger than -infinity: the first of equals is the first, unless all are NaN.
  if (team.lane == 0) index[team.row] = best.index < cols ? best.index : 0;
}

template <int kLanes, bool logistic>
__global__ void __launch_bounds__(kThreads)
    PairRows(const float* outputs, const float* targets, float* gradient, float scale, int64_t rows,
             int64_t cols, RowSums out) {
  const Team<kLanes> team;
  if (team.row >= rows) return;
  const int64_t first = team.row * cols;
  float part = 0;
  int wrong = 0;
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
    const float x = outputs[first + i], t = targets[first + i];
    if constexpr (logistic) {
      part += formulas::LogisticLoss(x, t);
      wrong += (x > 0.0f) != (t > 0.5f);
      if (gradient != nullptr) gradient[first + i] = scale * formulas::LogisticSlope(x, t);
    } else {
      part += 0.5f * (x - t) * (x - t);
      if (gradient != nullptr) gradient[first + i] = scale * (x - t);
    }
  });
  const double sum = team.Sum(part), all_wrong = team.Sum(wrong);
  if (team.lane == 0) {
    out.loss[team.row] = sum;
    out.correct[team.row] = logistic && all_wrong == 0;
  }
}

// One block: in an order that depends on the number of rows alone.
__global__ void __launch_bounds__(kThreads) AddRows(RowSums rows, int64_t n, LossSums* sums) {
  __shared__ double losses[kWarps];
  __shared__ long long counts[kWarps];
  double loss = 0;
  long long correct = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    loss += rows.loss[i];
    correct += rows.correct[i];
  }
  loss = BlockSum(loss, losses);
  correct = BlockSum(correct, counts);
  if (threadIdx.x == 0) {
    sums->loss += loss;
    sums->correct += correct;
  }
}

template <bool logistic>
void LaunchPairs(Context* c, const float* outputs, const float* targets, float* gradient,
                 float scale, int64_t rows, int64_t cols, LossSums* sums) {
  if (rows <= 0) return;
  const RowSums out = RowsOf(c, rows);
  WithTeams(rows, cols, [&](auto lanes, auto, unsigned blocks, size_t) {
    PairRows<decltype(lanes)::value, logistic>
        <<<blocks, kThreads, 0, c->compute>>>(outputs, targets, gradient, scale, rows, cols, out);
  });
  c->Launched(logistic ? "logistic loss" : "squared error");
  AddRowSums(c, out, rows, sums);
}

}  // namespace

void AddRowSums(Context* c, const RowSums& rows, int64_t n, LossSums* sums) {
  AddRows<<<1, kThreads, 0, c->compute>>>(rows, n, sums);
  c->Launched("sum of losses");
}

void SoftmaxCrossEntropy(Context* c, const float* logits, const int32_t* labels, float* gradient,
                         float scale, int64_t rows, int64_t cols, float smoothing, LossSums* sums) {
  if (rows <= 0) return;
  const RowSums out = RowsOf(c, rows);
  WithTeams(rows, cols, [&](auto lanes, auto cached, unsigned blocks, size_t bytes) {
    SoftmaxRows<decltype(lanes)::value, decltype(cached)::value>
        <<<blocks, kThreads, bytes, c->compute>>>(logits, labels, gradient, scale, rows, cols,
                                                  smoothing, out);
  });
  c->Launched("softmax cross-entropy");
  AddRowSums(c, out, rows, sums);
}

void SquaredError(Context* c, const float* outputs, const float* targets, float* gradient,
                  float scale, int64_t rows, int64_t cols, LossSums* sums) {
  LaunchPairs<false>(c, outputs, targets, gradient, scale, rows, cols, sums);
}
void Logistic(Context* c, const float* logits, const float* targets, float* gradient, float scale,
              int64_t rows, int64_t cols, LossSums* sums) {
  LaunchPairs<true>(c, logits, targets, gradient, scale, rows, cols, sums);
}

void LogSoftmax(Context* c, const float* logits, float* y, int64_t rows, int64_t cols) {
  if (rows <= 0) return;
  WithTeams(rows, cols, [&](auto lanes, auto cached, unsigned blocks, size_t bytes) {
    LogSoftmaxRows<decltype(lanes)::value, decltype(cached)::value>
        <<<blocks, kThreads, bytes, c->compute>>>(logits, y, rows, cols);
  });
  c->Launched("log softmax");
}

void ArgMax(Context* c, const float* x, int32_t* index, int64_t rows, int64_t cols) {
  if (rows <= 0) return;
  WithTeams(rows, cols, [&](auto lanes, auto, unsigned blocks, size_t) {
    ArgMaxRows<decltype(lanes)::value><<<blocks, kThreads, 0, c->compute>>>(x, index, rows, cols);
  });
  c->Launched("argmax");
}

}  // namespace mariana::cuda
