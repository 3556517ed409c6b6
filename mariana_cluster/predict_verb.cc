// predict: a line for each row, in the order of the rows: the probability of a click (squared loss:
// the number), `nan` for a malformed row.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/progress.h"
#include "common/train/signals.h"
#include "mariana_cluster/scoring_job.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

// The shortest text that reads back as this float.
void AppendNumber(float value, std::string* text) {
  char number[32];
  const auto end = std::to_chars(number, number + sizeof number - 1, value).ptr;
  *end = '\n';
  text->append(number, end + 1);
}

void AppendLines(const ClickBatch& batch, bool probabilities, std::string* text) {
  for (size_t r = 0; r < batch.logits.size(); ++r) {
    const double x = batch.logits[r];
    if (std::isnan(batch.rows.label[r])) {
      *text += "nan\n";
    } else {
      AppendNumber(static_cast<float>(probabilities ? 1 / (1 + std::exp(-x)) : x), text);
    }
  }
}

}  // namespace

int PredictVerb(const CommandLine& cl) {
  const ScoringJob job(cl, ScoredLabels::kIgnored);
  const bool probabilities = job.scorer->model().click.loss == ClickLoss::kLogistic;
  std::optional<FileWriter> file;
  if (!job.spec.output.path.empty()) file.emplace(job.spec.output.path);
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("predict", 0, "rows");
  int64_t done = 0;
  std::string lines;
  ScoreFiles(job.rows(), [&](const ClickBatch& batch) {
    lines.clear();
    AppendLines(batch, probabilities, &lines);
    if (file) {
      file->Append(lines.data(), lines.size());
    } else if (std::fwrite(lines.data(), 1, lines.size(), stdout) != lines.size()) {
      return false;  // told when the program ends
    }
    progress.Update(done += batch.rows.rows, {});
    return !StopRequested();
  });
  progress.End();
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  if (file) file->Finish();
  if (job.bad->bad() == 0) return 0;
  if (job.bad->bad() == job.bad->rows()) {
    throw Fail(ExitCode::kBadData, job.bad->first(), "; all of ", job.bad->rows(),
               " rows are malformed");
  }
  std::fprintf(stderr, "%s: %lld of %lld rows are malformed: their predictions are nan\n",
               cl.program.c_str(), static_cast<long long>(job.bad->bad()),
               static_cast<long long>(job.bad->rows()));
  return 0;
}

}  // namespace mariana
