// Losses of one row of outputs. A row (12,000 outputs: 48 KB) stays in the first two caches
// between the passes.
#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

// Sum of f(i) over [0, n) in kLanes partial sums, then in float64.
template <class F>
[[gnu::always_inline]] inline double LaneSum(int64_t n, const F& f) {
  float lane[kLanes] = {};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
#pragma GCC ivdep
    for (int j = 0; j < kLanes; ++j) lane[j] += f(i + j);
  }
  for (int64_t i = whole; i < n; ++i) lane[i - whole] += f(i);
  double sum = 0;
  for (int j = 0; j < kLanes; ++j) sum += lane[j];
  return sum;
}

// NaN only where x[0] is: the sums that follow are NaN then anyway.
float RowMax(const float* x, int64_t n) {
  float lane[kLanes];
  for (int j = 0; j < kLanes; ++j) lane[j] = x[0];
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
#pragma GCC ivdep
    for (int j = 0; j < kLanes; ++j) lane[j] = formulas::Max(x[i + j], lane[j]);
  }
  for (int64_t i = whole; i < n; ++i) lane[0] = formulas::Max(x[i], lane[0]);
  for (int j = 1; j < kLanes; ++j) lane[0] = formulas::Max(lane[j], lane[0]);
  return lane[0];
}

int32_t ArgMax(const float* x, int64_t n) {
  const float max = RowMax(x, n);
  int64_t i = 0;
  while (i < n - 1 && x[i] != max) ++i;
  return static_cast<int32_t>(i);
}

double SoftmaxCrossEntropy(const float* x, int32_t label, float* gradient, float scale, int64_t n,
                           float smoothing, bool* correct) {
  const float max = RowMax(x, n);
  const float at_label = x[label];
  // What the targets take of the outputs; apart, so that 0 * infinity does not come in.
  double expected = at_label;
  if (smoothing > 0) {
    const double all = LaneSum(n, [=](int64_t i) { return x[i] - max; });
    expected += smoothing * (all / static_cast<double>(n) + max - at_label);
  }
  *correct = at_label == max && ArgMax(x, n) == label;
  double sum;
  if (gradient == nullptr) {
    sum = LaneSum(n, [=](int64_t i) { return formulas::Exp(x[i] - max); });
  } else {
    sum = LaneSum(n, [=](int64_t i) {
      const float e = formulas::Exp(x[i] - max);
      gradient[i] = e;
      return e;
    });
    const float k = static_cast<float>(scale / sum);
    const float rest = scale * smoothing / static_cast<float>(n);
    Each(n, [=](int64_t i) { gradient[i] = gradient[i] * k - rest; });
    gradient[label] -= scale * (1.0f - smoothing);
  }
  return __builtin_log(sum) + max - expected;
}

// See formulas::MergeParts.
void SoftmaxSummary(const float* x, int64_t label, int64_t n, float* summary) {
  const float max = RowMax(x, n);
  const bool here = label >= 0 && label < n;
  summary[0] = max;
  summary[1] = static_cast<float>(LaneSum(n, [=](int64_t i) { return formulas::Exp(x[i] - max); }));
  summary[2] = here ? x[label] : 0.0f;
  summary[3] = static_cast<float>(LaneSum(n, [=](int64_t i) { return x[i]; }));
  summary[4] = !here ? 0.0f : x[label] == max && ArgMax(x, n) == label ? 2.0f : 1.0f;
}

double SoftmaxPart(const float* x, int64_t label, const SplitSoftmaxSpec& spec,
                   const float* summaries, float* gradient, float scale, bool* correct) {
  const formulas::SplitRow row =
      formulas::MergeParts(summaries, spec.parts, spec.whole, spec.smoothing);
  *correct = row.correct;
  if (gradient != nullptr) {
    const float k = static_cast<float>(scale / row.sum);
    const float rest = scale * spec.smoothing / static_cast<float>(spec.whole);
    Each(spec.classes, [=](int64_t i) { gradient[i] = formulas::Exp(x[i] - row.max) * k - rest; });
    if (label >= 0 && label < spec.classes) gradient[label] -= scale * (1.0f - spec.smoothing);
  }
  return __builtin_log(row.sum) + row.max - row.expected;
}

void LogSoftmax(const float* x, float* y, int64_t n) {
  const float max = RowMax(x, n);
  const double sum = LaneSum(n, [=](int64_t i) { return formulas::Exp(x[i] - max); });
  const float log_sum = static_cast<float>(__builtin_log(sum));
  Each(n, [=](int64_t i) { y[i] = x[i] - max - log_sum; });
}

double SquaredError(const float* x, const float* target, float* gradient, float scale, int64_t n,
                    bool* correct) {
  *correct = false;
  const double sum = LaneSum(n, [=](int64_t i) {
    const float d = x[i] - target[i];
    return d * d;
  });
  if (gradient != nullptr) {
    Each(n, [=](int64_t i) { gradient[i] = scale * (x[i] - target[i]); });
  }
  return 0.5 * sum;
}

double Logistic(const float* x, const float* target, float* gradient, float scale, int64_t n,
                bool* correct) {
  const double sum = LaneSum(n, [=](int64_t i) { return formulas::LogisticLoss(x[i], target[i]); });
  bool all = true;
  for (int64_t i = 0; i < n; ++i) all = all & ((x[i] > 0.0f) == (target[i] > 0.5f));
  *correct = all;
  if (gradient != nullptr) {
    Each(n, [=](int64_t i) { gradient[i] = scale * formulas::LogisticSlope(x[i], target[i]); });
  }
  return sum;
}

}  // namespace

void AddLosses(Kernels* k) {
  k->softmax_cross_entropy = SoftmaxCrossEntropy;
  k->softmax_summary = SoftmaxSummary;
  k->softmax_part = SoftmaxPart;
  k->squared_error = SquaredError;
  k->logistic = Logistic;
  k->log_softmax = LogSoftmax;
  k->arg_max = ArgMax;
}

}  // namespace mariana::MARIANA_ISA
