// Softmax cross-entropy of classes that are split between workers: a team of threads a row
// (teams.h). What the parts' sums make together is formulas::MergeParts.
#include "common/base/error.h"
#include "common/device/cuda/operations.h"
#include "common/device/cuda/teams.h"

namespace mariana::cuda {
namespace {

template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    SummaryRows(const float* logits, const int32_t* labels, float* summaries, int64_t rows,
                int64_t first, int64_t cols) {
  const Team<kLanes> team;
  if (team.row >= rows) return;  // whole teams
  const float* x = logits + team.row * cols;
  const int64_t label = labels[team.row] - first;
  const bool here = label >= 0 && label < cols;
  Best best{-CUDART_INF_F, 0x7FFFFFFF};
  float all = 0;
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) {
    const float v = x[i];
    all += v;
    if (v > best.value) best = {v, static_cast<int>(i)};
  });
  best = team.Max(best);
  float part = 0;
  EachColumn<kLanes>(team.lane, cols, [&](int64_t i) { part += formulas::Exp(x[i] - best.value); });
  const double sum = team.Sum(part), sum_of_x = team.Sum(all);
  if (team.lane == 0) {
    float* s = summaries + team.row * SplitSoftmaxOp::kSummary;
    s[0] = best.value;
    s[1] = static_cast<float>(sum);
    s[2] = here ? x[label] : 0.0f;
    s[3] = static_cast<float>(sum_of_x);
    s[4] = !here ? 0.0f : best.index == label ? 2.0f : 1.0f;
  }
}

template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    PartRows(const float* logits, const int32_t* labels, const float* summaries, float* gradient,
             float scale, int64_t rows, SplitSoftmaxSpec spec, RowSums out) {
  const Team<kLanes> team;
  if (team.row >= rows) return;
  const formulas::SplitRow row =
      formulas::MergeParts(summaries + team.row * spec.parts * SplitSoftmaxOp::kSummary, spec.parts,
                           spec.whole, spec.smoothing);
  const float* x = logits + team.row * spec.classes;
  const int32_t label = labels[team.row];
  if (gradient != nullptr) {
    const float k = static_cast<float>(scale / row.sum);
    const float rest = scale * spec.smoothing / static_cast<float>(spec.whole);
    float* g = gradient + team.row * spec.classes;
    EachColumn<kLanes>(team.lane, spec.classes, [&](int64_t i) {
      const float e = formulas::Exp(x[i] - row.max) * k - rest;
      g[i] = i == label - spec.first ? e - scale * (1.0f - spec.smoothing) : e;
    });
  }
  if (team.lane == 0) {
    const bool valid = label >= 0 && label < spec.whole;  // no such label: the loss shows it
    out.loss[team.row] = valid ? log(row.sum) + row.max - row.expected : CUDART_NAN;
    out.correct[team.row] = row.correct;
  }
}

class SplitSoftmax : public SplitSoftmaxOp {
 public:
  SplitSoftmax(const SplitSoftmaxSpec& spec, Context* context) : spec_(spec), context_(context) {}

  void Summarize(const float* logits, const int32_t* labels, float* summary,
                 int64_t rows) override {
    if (rows <= 0) return;
    context_->Use();
    WithTeams(rows, spec_.classes, [&](auto lanes, auto, unsigned blocks, size_t) {
      SummaryRows<decltype(lanes)::value><<<blocks, kThreads, 0, context_->compute>>>(
          logits, labels, summary, rows, spec_.first, spec_.classes);
    });
    context_->Launched("summary of split classes");
  }
  void Loss(const float* logits, const int32_t* labels, const float* summaries, float* gradient,
            float scale, int64_t rows, LossSums* sums) override {
    if (rows <= 0) return;
    context_->Use();
    const RowSums out = RowsOf(context_, rows);
    WithTeams(rows, spec_.classes, [&](auto lanes, auto, unsigned blocks, size_t) {
      PartRows<decltype(lanes)::value><<<blocks, kThreads, 0, context_->compute>>>(
          logits, labels, summaries, gradient, scale, rows, spec_, out);
    });
    context_->Launched("softmax cross-entropy of split classes");
    AddRowSums(context_, out, rows, sums);
  }

 private:
  const SplitSoftmaxSpec spec_;
  Context* const context_;
};

}  // namespace

std::unique_ptr<SplitSoftmaxOp> MakeSplitSoftmaxOp(const SplitSoftmaxSpec& spec, Context* context) {
  return std::make_unique<SplitSoftmax>(spec, context);
}

}  // namespace mariana::cuda
