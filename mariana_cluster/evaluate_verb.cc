// evaluate: how good a model's predictions of files with labels are.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/train/progress.h"
#include "common/train/signals.h"
#include "mariana_cluster/scores/click_scores.h"
#include "mariana_cluster/scores/field_importance.h"
#include "mariana_cluster/scoring_job.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

using nlohmann::json;

struct Evaluation {
  ClickSummary summary;
  std::vector<RowBatch> sample;  // rows for the importance of fields
  std::vector<FieldImportance> importance;
};

json ToJson(const ScoringJob& job, const Evaluation& e) {
  json out{{"model", job.scorer->path()},
           {"rows", e.summary.rows},
           {"bad_rows", job.bad->bad()},
           {"prediction", e.summary.prediction},
           {"label", e.summary.label}};
  for (const auto& [name, value] : e.summary.Values()) out[name] = value;
  for (const CalibrationBin& bin : e.summary.deciles) {
    out["deciles"].push_back({{"rows", bin.rows},
                              {"least", bin.least},
                              {"most", bin.most},
                              {"prediction", bin.prediction},
                              {"click_rate", bin.click_rate}});
  }
  for (const FieldImportance& f : e.importance) {
    out["importance"].push_back({{"field", f.field}, {"loss", f.loss}});
  }
  return out;
}

void PrintLine(const char* name, const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  std::printf("  %-34s %s\n", name, text);
}

void Print(const ScoringJob& job, const Evaluation& e) {
  const ClickSummary& s = e.summary;
  std::printf("%s\n", job.scorer->path().c_str());
  PrintLine("rows", "%.0f", static_cast<double>(s.rows));
  if (job.bad->bad() > 0) {
    PrintLine("malformed rows, left out", "%.0f", static_cast<double>(job.bad->bad()));
  }
  if (s.squared) {
    PrintLine("root of the mean square", "%.6f", s.rmse);
  } else {
    PrintLine("area under the ROC curve", "%.6f", s.auc);
    if (s.groups > 0) {
      PrintLine(StrCat("... within ", s.judged_groups, " of ", s.groups, " groups").c_str(), "%.6f",
                s.gauc);
    }
    PrintLine("log loss", "%.6f", s.loss);
    PrintLine("normalised entropy", "%.6f", s.normalised_entropy);
    PrintLine("predicted over actual clicks", "%.4f", s.calibration);
  }
  PrintLine("mean prediction", "%.6g", s.prediction);
  PrintLine("mean label", "%.6g", s.label);
  if (!s.deciles.empty()) {
    std::printf("  %-34s %12s %12s %12s\n", "predictions, by tenths", "rows", "predicted",
                "actual");
  }
  for (const CalibrationBin& bin : s.deciles) {
    char range[64];
    std::snprintf(range, sizeof range, "%.4g to %.4g", bin.least, bin.most);
    std::printf("  %-34s %12lld %12.6f %12.6f\n", range, static_cast<long long>(bin.rows),
                bin.prediction, bin.click_rate);
  }
  if (e.importance.empty()) return;
  std::printf("  %-34s %12s\n", "field, shuffled", s.squared ? "RMSE gains" : "AUC loses");
  for (const FieldImportance& f : e.importance) {
    std::printf("  %-34.60s %12.6f\n", f.field.c_str(), f.loss);
  }
}

ClickScores::Options ScoreOptions(const ScoringJob& job) {
  ClickScores::Options options;
  options.squared = job.scorer->model().click.loss == ClickLoss::kSquared;
  options.groups = !job.scorer->rows().group.empty();
  if (!job.spec.data.cache.folder.empty()) options.folder = job.spec.data.cache.folder;
  return options;
}

}  // namespace

int EvaluateVerb(const CommandLine& cl) {
  const ScoringJob job(cl, ScoredLabels::kNeeded);
  Evaluation e;
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("evaluate", 0, "rows");
  ClickScores scores(ScoreOptions(job));
  int64_t sampled = 0;
  ScoreFiles(job.rows(), [&](const ClickBatch& batch) {
    const RowBatch& rows = batch.rows;
    scores.Add(batch.logits.data(), rows.label.data(), rows.weight.data(), rows.group.data(),
               rows.rows);
    if (sampled < job.spec.evaluate.importance) {
      e.sample.push_back(rows);
      sampled += rows.rows;
    }
    progress.Update(scores.rows(), {});
    return !StopRequested();
  });
  progress.End();
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  if (scores.rows() == 0) {
    throw Fail(ExitCode::kBadData, (*job.files)[0].path, ": no rows to evaluate");
  }
  e.summary = scores.Summarize();
  if (!e.sample.empty()) {
    progress.Begin("importance", 0, "fields");
    e.importance = MeasureImportance(*job.scorer, e.sample, job.rows().threads, [&](int done, int) {
      progress.Update(done, {});
      return !StopRequested();
    });
    progress.End();
    if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  }
  if (cl.progress == ProgressMode::kJson) {
    std::printf("%s\n", ToJson(job, e).dump().c_str());
  } else {
    Print(job, e);
  }
  return 0;
}

}  // namespace mariana
