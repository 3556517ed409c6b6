#include "mariana_cluster/scoring_job.h"

#include <cstdio>

#include "common/base/error.h"
#include "common/train/train_run.h"

namespace mariana {
namespace {

// Predictions follow the input line by line, whatever a row is for.
RowSpec WithoutLabels(RowSpec rows) {
  if (rows.format == RowFormat::kCsv) rows.label.clear();
  rows.weight.clear();
  rows.group.clear();
  rows.held_out = HeldOutSpec();
  return rows;
}

}  // namespace

ScoringJob::ScoringJob(const CommandLine& cl, ScoredLabels labels) {
  LoadConfig({cl.config, cl.overrides}, [this](Fields* f) { spec.Describe(f); });
  const bool predicts = labels == ScoredLabels::kIgnored;
  const bool holds_out = spec.data.rows.held_out.kind != HeldOutKind::kNone;
  std::vector<std::string> patterns = cl.arguments;
  if (patterns.empty() && !spec.data.valid.empty()) patterns = {spec.data.valid};
  if (patterns.empty() && holds_out && !predicts) {
    patterns = {spec.data.train};
    part_ = RowPart::kHeldOut;
  }
  if (patterns.empty()) {
    throw Fail(ExitCode::kUsage, cl.config, ": ", cl.verb,
               " needs files: behind the verb (- is standard input) or in data.valid");
  }
  if (predicts) part_ = RowPart::kEveryRow;
  const RowSpec rows = predicts ? WithoutLabels(spec.data.rows) : spec.data.rows;
  ClickScorer::Options options;
  options.compute = spec.train.compute();
  options.files = &rows;
  scorer = ClickScorer::Open(spec.model.empty() ? RunPath(cl, spec.name) : spec.model, options);
  files = std::make_unique<RowFiles>(patterns, scorer->rows());
  if (!spec.data.joined.empty()) joined = std::make_unique<JoinedFeatures>(spec.data.joined);
  bad = std::make_unique<BadRows>(
      predicts ? 1 : rows.max_bad_fraction,
      [start = StrCat(cl.program, ": warning: ")](const std::string& what) {
        std::fputs((start + what + "\n").c_str(), stderr);
      });
}

ScoreFilesJob ScoringJob::rows() const {
  ScoreFilesJob job;
  job.scorer = scorer.get();
  job.files = files.get();
  job.part = part_;
  job.joined = joined.get();
  job.bad = bad.get();
  job.threads = WorkerCount(spec.parallel);
  return job;
}

}  // namespace mariana
