#include "mariana_cluster/scores/field_importance.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <utility>

#include "common/base/random.h"
#include "common/data/pipeline.h"
#include "mariana_cluster/scores/click_scores.h"

namespace mariana {
namespace {

constexpr uint64_t kSeed = 1;

std::vector<uint32_t> RandomOrder(size_t n, uint64_t stream) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  RandomSequence random(kSeed, kShuffleStream + stream);
  for (size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  return order;
}

void AddTo(const ClickBatch& batch, ClickScores* scores) {
  scores->Add(batch.logits.data(), batch.rows.label.data(), batch.rows.weight.data(), nullptr,
              batch.rows.rows);
}

// What is shuffled with a field: itself, its crosses, its dense column.
struct Shuffled {
  std::vector<bool> fields, dense_columns;
};

Shuffled WithField(const RowPlan& plan, size_t field) {
  Shuffled s;
  s.fields.assign(plan.fields().size() + plan.crosses().size(), false);
  s.dense_columns.assign(static_cast<size_t>(plan.dense_columns()), false);
  s.fields[field] = true;
  for (const CrossPlan& cross : plan.crosses()) {
    if (std::find(cross.of.begin(), cross.of.end(), field) != cross.of.end()) {
      s.fields[cross.field] = true;
    }
  }
  const int column = plan.fields()[field].dense_column;
  if (column >= 0) s.dense_columns[static_cast<size_t>(column)] = true;
  return s;
}

ClickScores ScoresOf(const ClickScorer& scorer) {
  ClickScores::Options options;
  options.squared = scorer.model().click.loss == ClickLoss::kSquared;
  return ClickScores(options);
}

// The larger, the better.
double Quality(const ClickScorer& scorer, ClickScores* scores) {
  return scorer.model().click.loss == ClickLoss::kSquared ? -scores->Summarize().rmse
                                                          : scores->Auc();
}

double QualityWithout(const Shuffled& shuffled, const std::vector<RowBatch>& batches,
                      const ClickScorer& scorer, ClickScorer::Lane* lane, ClickBatch* scratch) {
  ClickScores scores = ScoresOf(scorer);
  for (size_t b = 0; b < batches.size(); ++b) {
    ShuffleFields(batches[b], shuffled.fields, shuffled.dense_columns,
                  RandomOrder(static_cast<size_t>(batches[b].rows), b), &scratch->rows);
    lane->Score(scratch);
    AddTo(*scratch, &scores);
  }
  return Quality(scorer, &scores);
}

}  // namespace

void ShuffleFields(const RowBatch& from, const std::vector<bool>& fields,
                   const std::vector<bool>& dense_columns, const std::vector<uint32_t>& order,
                   RowBatch* to) {
  *to = from;
  to->key.clear();
  to->field.clear();
  to->value.clear();
  const auto take = [&](uint32_t i) {
    to->key.push_back(from.key[i]);
    to->field.push_back(from.field[i]);
    to->value.push_back(from.value[i]);
  };
  for (size_t r = 0; r < static_cast<size_t>(from.rows); ++r) {
    uint32_t mine = from.begin[r], theirs = from.begin[order[r]];
    const uint32_t my_end = from.begin[r + 1], their_end = from.begin[order[r] + 1];
    to->begin[r] = static_cast<uint32_t>(to->key.size());
    for (;;) {  // both in the order of the fields
      while (mine < my_end && fields[from.field[mine]]) ++mine;
      while (theirs < their_end && !fields[from.field[theirs]]) ++theirs;
      if (mine == my_end && theirs == their_end) break;
      const bool take_mine =
          theirs == their_end || (mine < my_end && from.field[mine] < from.field[theirs]);
      take(take_mine ? mine++ : theirs++);
    }
    for (size_t c = 0; c < dense_columns.size(); ++c) {
      const auto width = static_cast<size_t>(from.dense_columns);
      if (dense_columns[c]) to->dense[r * width + c] = from.dense[order[r] * width + c];
    }
  }
  if (!to->begin.empty()) to->begin.back() = static_cast<uint32_t>(to->key.size());
}

std::vector<FieldImportance> MeasureImportance(
    const ClickScorer& scorer, const std::vector<RowBatch>& batches, int threads,
    const std::function<bool(int done, int of)>& progress) {
  const RowPlan& plan = scorer.plan();
  const int count = static_cast<int>(plan.fields().size());
  ClickScores whole = ScoresOf(scorer);
  {
    const auto lane = scorer.MakeLane();
    ClickBatch batch;
    for (const RowBatch& rows : batches) {
      batch.rows = rows;
      lane->Score(&batch);
      AddTo(batch, &whole);
    }
  }
  const double quality = Quality(scorer, &whole);
  std::vector<FieldImportance> all(static_cast<size_t>(count));
  std::atomic<int> next{0};
  std::mutex mutex;
  int done = 0;
  bool goes_on = true;
  Pipeline pipeline(Clock::Real());
  pipeline.AddStage("importance", std::min(threads, std::max(count, 1)), [&](StageMeter*) {
    const auto lane = scorer.MakeLane();
    ClickBatch scratch;
    for (int f; !pipeline.stopping() && (f = next++) < count;) {
      const auto field = static_cast<size_t>(f);
      all[field] = {
          plan.fields()[field].name,
          quality - QualityWithout(WithField(plan, field), batches, scorer, lane.get(), &scratch)};
      std::unique_lock<std::mutex> lock(mutex);
      if (goes_on) goes_on = progress(++done, count);
      if (!goes_on) return;
    }
  });
  pipeline.Join();
  if (!goes_on) return {};
  std::stable_sort(all.begin(), all.end(), [](const FieldImportance& a, const FieldImportance& b) {
    return a.loss > b.loss;
  });
  return all;
}

std::vector<FieldImportance> MeasureFields(const ScoreFilesJob& job, int64_t rows,
                                           const std::function<bool(int done, int of)>& progress) {
  std::vector<RowBatch> batches;
  int64_t taken = 0;
  ScoreFiles(job, [&](const ClickBatch& batch) {
    batches.push_back(batch.rows);
    return (taken += batch.rows.rows) < rows;
  });
  return MeasureImportance(*job.scorer, batches, job.threads, progress);
}

}  // namespace mariana
