// What is told of a run besides its metrics of training and evaluation.
#include "common/base/error.h"
#include "mariana_cluster/cluster_report.h"
#include "mariana_cluster/trainer.h"

namespace mariana {
namespace {

const char* Name(const ClusterSpec& p) {
  if (p.deterministic) return "deterministic";
  return p.mode == Mode::kAsync ? "async" : p.mode == Mode::kSsp ? "ssp" : "bsp";
}

std::string Count(int64_t n, const char* what) { return StrCat(n, " ", what, n == 1 ? "" : "s"); }

}  // namespace

void ClusterTrainer::WriteReport(const std::string& status) {
  meter_.Fill(summary_);
  const ClusterSpec& p = job_->parallel;
  ClusterReportInput in;
  in.facts.program = command_line_.program;
  in.facts.job = job_->name;
  in.facts.config = config_.yaml;
  in.facts.unit = job_->unit();
  in.facts.status = status;
  in.facts.run = run_;
  in.facts.net = task_->net();
  in.facts.state = &state_;
  in.facts.summary = summary_;
  in.facts.devices =
      StrCat(Count(p.workers, "worker"), ", ", Count(p.servers, "server"), ", ", Name(p));
  in.facts.pipeline = pipeline_;
  in.job = job_;
  in.workers = static_cast<int>(p.workers);
  in.shards = &memory_.shards;
  in.bad_rows = bad_rows_;
  task_->FillReport(&in);
  WriteClusterReport(std::move(in));
}

}  // namespace mariana
