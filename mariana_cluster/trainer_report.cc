// What is told of a run besides its metrics of training and evaluation.
#include <cmath>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_cluster/click_report.h"
#include "mariana_cluster/scores/score_files.h"
#include "mariana_cluster/trainer.h"

namespace mariana {
namespace {

const char* Name(const ClusterSpec& p) {
  if (p.deterministic) return "deterministic";
  return p.mode == Mode::kAsync ? "async" : p.mode == Mode::kSsp ? "ssp" : "bsp";
}

std::string Count(int64_t n, const char* what) { return StrCat(n, " ", what, n == 1 ? "" : "s"); }

}  // namespace

std::vector<std::pair<std::string, double>> ClickTrainer::TakeProgressive() {
  const double auc = progressive_->Auc();
  progressive_->Reset();
  if (std::isnan(auc)) return {};
  return {{"train/auc", auc}};
}

void ClickTrainer::MeasureImportance() {
  const int64_t wanted = job_->evaluate.importance;
  if (wanted == 0 || !data_.has_valid()) return;
  meter_.Time("importance", [&] {
    ClickScorer::Options options;
    options.compute = job_->train.compute();
    const auto scorer = ClickScorer::Open(run_->path(), options);
    BadRows bad(1, nullptr);  // told when they were evaluated
    ScoreFilesJob job;
    job.scorer = scorer.get();
    job.files = &data_.valid();
    job.part = data_.valid_part();
    job.joined = data_.joined.get();
    job.bad = &bad;
    job.threads = static_cast<int>(job_->parallel.workers);
    progress_.Begin("importance", 0, "fields");
    importance_ = MeasureFields(job, wanted, [this](int done, int) {
      progress_.Update(done, {});
      return !StopRequested();
    });
    progress_.End();
  });
}

void ClickTrainer::WriteReport(const std::string& status) {
  meter_.Fill(summary_);
  const ClusterSpec& p = job_->parallel;
  ClickReportInput in;
  in.facts.program = command_line_.program;
  in.facts.job = job_->name;
  in.facts.config = config_.yaml;
  in.facts.unit = "rows";
  in.facts.status = status;
  in.facts.run = run_;
  in.facts.net = model_->net();
  in.facts.state = &state_;
  in.facts.summary = summary_;
  in.facts.devices =
      StrCat(Count(p.workers, "worker"), ", ", Count(p.servers, "server"), ", ", Name(p));
  in.facts.pipeline = pipeline_;
  in.job = job_;
  in.workers = static_cast<int>(p.workers);
  in.held_out = held_out_.get();
  in.importance = importance_;
  in.shards = &memory_.shards;
  in.bad_rows = bad_rows_;
  WriteClickReport(std::move(in));
}

}  // namespace mariana
