// The agent's side of click models.
#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/error.h"
#include "common/data/rows/fit_numbers.h"
#include "common/train/ranks.h"
#include "common/train/signals.h"
#include "mariana_cluster/agent_task.h"
#include "mariana_cluster/click_data.h"
#include "mariana_cluster/feed/estimate_rows.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/scores/score_files.h"

namespace mariana {
namespace {

constexpr int64_t kFitRows = 200'000;

class ClickAgent : public AgentTask {
 public:
  explicit ClickAgent(const AgentTaskInput& input)
      : input_(input),
        job_(input.job),
        scores_(ScoreOptions(*input.job)),
        progressive_(ClickScores::Options()) {
    OpenAndMeasure();
    rows_ = EstimateRows(*data_.plan, *data_.train, data_.train_shards, RowPart::kTrain);
    DescribeTheModel();
    SayWhatThereIs();
    device_ = MakeAgentDevice(input.command_line->device, job_->train);
    model_ = MakeClickModel(*job_, *data_.plan, data_.joined_columns(), device_.get());
  }

  int64_t epoch_samples() const override { return rows_; }
  bool has_valid() const override { return data_.has_valid(); }
  Net* net() override { return model_->net(); }
  const std::vector<ClickTable>& tables() const override { return model_->tables(); }
  const Metadata& metadata() const override { return metadata_; }

  void Put(ScoresOf of, const std::string& body) override {
    (of == ScoresOf::kHeldOut ? scores_ : progressive_).Put(body);
  }
  int64_t held_out_samples() const override { return scores_.rows(); }
  Values Summarize() override {
    held_out_ = std::make_unique<ClickSummary>(scores_.Summarize());
    scores_.Reset();
    return held_out_->Values();
  }
  void DropHeldOut() override { scores_.Reset(); }
  Values TakeTraining() override {
    const double auc = progressive_.Auc();
    progressive_.Reset();
    if (std::isnan(auc)) return {};
    return {{"train/auc", auc}};
  }
  void Finish(TrainMeter* meter, Progress* progress) override {
    if (job_->evaluate.importance == 0 || !has_valid()) return;
    meter->Time("importance", [&] { MeasureImportance(progress); });
  }
  void FillReport(ClusterReportInput* in) const override {
    in->held_out = held_out_.get();
    in->importance = importance_;
  }

 private:
  void OpenAndMeasure();
  void DescribeTheModel();
  void SayWhatThereIs();
  void MeasureImportance(Progress* progress);

  const AgentTaskInput input_;
  JobSpec* job_;
  ClickData data_;
  int64_t rows_ = 0;
  Metadata metadata_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<ClickModel> model_;
  ClickScores scores_, progressive_;        // held out; of training, since the last line of metrics
  std::unique_ptr<ClickSummary> held_out_;  // the last one
  std::vector<FieldImportance> importance_;
};

// What the fields measure on the training data becomes part of the model, so a resumed run takes it
// from there.
void ClickAgent::OpenAndMeasure() {
  if (input_.from != nullptr) {
    job_->data.rows = ReadSavedModel(SafetensorsFile(input_.from->model_path()))->rows;
  } else if (NeedsFit(job_->data.rows)) {
    const ClickData raw = OpenData(*job_, false);
    FitNumbers(*raw.train, kFitRows, &job_->data.rows);
  }
  data_ = OpenData(*job_, true);
}

void ClickAgent::DescribeTheModel() {
  SavedModel saved;
  saved.seed = job_->seed;
  saved.rows = job_->data.rows;
  saved.joined_columns = data_.joined_columns();
  saved.click = job_->click;
  std::swap(saved.net, job_->net);  // a net's spec cannot be copied
  metadata_ = DescribeModel(&saved);
  std::swap(saved.net, job_->net);
}

void ClickAgent::SayWhatThereIs() {
  const RowFiles& files = *data_.train;
  input_.say(StrCat("training files: ", files.size(), ", ", files.total_bytes(), " bytes, ",
                    rows_ < 0 ? std::string("an unknown number of") : StrCat("about ", rows_),
                    " rows; features of ", data_.plan->FieldNames().size(), " fields, ",
                    data_.plan->dense_columns() + data_.joined_columns(), " dense columns"));
  if (job_->parallel.deterministic) return;
  const int nodes = input_.command_line->ranks->size(), lanes = LaneCount(*job_, nodes);
  const int64_t workers = nodes * job_->parallel.workers;
  int64_t filled = 0;
  for (int l = 0; l < lanes; ++l) {
    const auto share = ShareOf(data_.train_shards, l, lanes);
    filled += std::any_of(share.begin(), share.end(), [](const RowShard& s) { return !s.empty(); });
  }
  if (filled >= workers) return;
  input_.say(StrCat(workers - filled, " of ", workers,
                    " workers have nothing to read: the files come in fewer ",
                    "pieces; raise data.shards, or give more files where they are compressed"));
}

// What the best model owes to each field.
void ClickAgent::MeasureImportance(Progress* progress) {
  ClickScorer::Options options;
  options.compute = job_->train.compute();
  const auto scorer = ClickScorer::Open(input_.run->path(), options);
  BadRows bad(1, nullptr);  // told when they were evaluated
  ScoreFilesJob job;
  job.scorer = scorer.get();
  job.files = &data_.valid();
  job.part = data_.valid_part();
  job.joined = data_.joined.get();
  job.bad = &bad;
  job.threads = static_cast<int>(job_->parallel.workers);
  progress->Begin("importance", 0, "fields");
  importance_ = MeasureFields(job, job_->evaluate.importance, [progress](int done, int) {
    progress->Update(done, {});
    return !StopRequested();
  });
  progress->End();
}

}  // namespace

std::unique_ptr<AgentTask> MakeClickAgent(const AgentTaskInput& input) {
  return std::make_unique<ClickAgent>(input);
}

}  // namespace mariana
