#include "mariana_dnn/trainer.h"

#include <glog/logging.h>

#include <cstring>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_dnn/speech_report.h"

namespace mariana {

Trainer::Trainer(SpeechJob* job, const RunDirectory* run, Summary* summary)
    : job_(job), files_(run), summary_(summary), run_(RunOptionsOf(run, summary)) {}

Trainer::~Trainer() = default;

TrainingRun::Options Trainer::RunOptionsOf(const RunDirectory* run, Summary* summary) {
  TrainingRun::Options o;
  o.command_line = &job_->command_line;
  o.job = job_->spec.name;
  o.config = job_->effective.yaml;
  o.unit = "frames";
  o.train = &job_->spec.train;
  o.log = job_->spec.log;
  o.identity = JobIdentity(&job_->spec);
  o.run = run;
  o.summary = summary;
  o.extras = [this] {
    return ModelExtras{TablesToTensors(tables_), DescribeModel("mariana_dnn", &model_)};
  };
  o.write_report = [this](const TrainFacts& facts) { WriteReport(facts); };
  return o;
}

int Trainer::Run() {
  return run_.Guard([this] { return RunToEnd(); });
}

int Trainer::RunToEnd() {
  run_.meter().Time("set_up", [this] {
    const JobSpec& spec = job_->spec;
    job_->spec.parallel.ShareOut(run_.ranks()->size());
    std::string no_gpu;
    devices_ = MakeDevices(job_->command_line.device, spec.parallel, spec.train.precision,
                           run_.ranks(), &no_gpu);
    if (!no_gpu.empty()) run_.Say(no_gpu);
    OpenData();
    MakeWorkers();
    run_.StartOrResume([this] { StartValues(); });
  });
  if (run_.DoneAlready()) return 0;
  run_.Begin();
  while (run_.Left()) {
    if (!TrainEpoch()) return run_.Stop();
    std::vector<std::pair<std::string, double>> values;
    if (valid_ && !Evaluate(&values)) return run_.Stop();
    run_.FinishEpoch(valid_ ? &values : nullptr);
  }
  return Finish();
}

bool Trainer::TrainEpoch() {
  if (!run_.HasSteps()) return true;
  const JobSpec& spec = job_->spec;
  const TrainState& state = run_.state();
  FrameStreamOptions options;
  options.seed = static_cast<uint64_t>(spec.seed);
  options.epoch = state.epoch;
  options.batch_size = spec.train.batch_size;
  options.block_frames = spec.data.block_frames;
  options.left = static_cast<int32_t>(spec.data.context.left);
  options.right = static_cast<int32_t>(spec.data.context.right);
  options.first_step = state.step_in_epoch;
  options.readers = static_cast<int>(spec.data.reader_threads);
  FrameSource source(train_.get(), options, state.step - state.step_in_epoch, &frames_,
                     workers_->options().first());
  CHECK_EQ(source.steps_in_epoch(), state.steps_in_epoch);
  return run_.TrainEpoch(&source, [&source] { return source.Seconds(); });
}

// Every rank scores its workers' shares; their sums are added in the order of workers, so that the
// result does not depend on where they are.
bool Trainer::Evaluate(std::vector<std::pair<std::string, double>>* values) {
  const DataParallelOptions& o = workers_->options();
  std::vector<FrameScores> scores(scorers_.size());
  run_.meter().Time("evaluate", [&] {
    run_.ranks()->set_phase("evaluate");
    FrameStream stream(valid_.get(), InOrder(job_->spec.data.context, job_->spec.train.batch_size));
    run_.progress().Begin("evaluate", valid_->total_frames(), "frames");
    FrameBatch batch;
    int64_t frames = 0;
    while (!StopRequested() && stream.Next(&batch)) {
      const std::vector<Share> shares = DealOut(batch.rows(), 1, o.total());
      workers_->OnAll("evaluate", [&](int local) {
        const auto i = static_cast<size_t>(local);
        const Share& share = shares[static_cast<size_t>(o.first()) + i];
        if (share.rows > 0) {
          scorers_[i]->Score(batch, share.begin, share.rows, job_->labels, &scores[i]);
        }
      });
      frames += batch.rows();
      run_.progress().Update(frames, {});
    }
    run_.progress().End();
  });
  if (run_.Stopping()) return false;
  static_assert(std::is_trivially_copyable_v<FrameScores>, "it travels as bytes");
  const std::string mine(reinterpret_cast<const char*>(scores.data()),
                         scores.size() * sizeof(FrameScores));
  FrameScores sum;
  for (const std::string& bytes : run_.ranks()->Gather(mine)) {
    std::memcpy(scores.data(), bytes.data(), bytes.size());
    for (const FrameScores& part : scores) sum.Add(part);
  }
  *values = sum.Values(job_->labels);
  return true;
}

// Its frames were scored at the end of its epoch: only which texts were said is still to be found.
EvaluationResult Trainer::EvaluateBest(const AcousticModel& model) {
  EvaluationResult result;
  if (job_->spec.data.texts.empty()) {
    result.scores.frames = valid_->total_frames();
    const auto& best = run_.state().best;
    for (const auto& named : FrameScores().Values(job_->labels)) {
      const auto known = best.find(named.first);  // not where a resumed job adds `states`
      if (known != best.end()) result.values.push_back(*known);
    }
    return result;
  }
  Progress& progress = run_.progress();
  progress.Begin("evaluate the best model", valid_->total_frames(), "frames");
  result = EvaluateModel(*job_, model, devices_[0].get(), DataSet::kValid,
                         [&progress](int64_t done, int64_t) {
                           progress.Update(done, {});
                           return !StopRequested();
                         });
  progress.End();
  return result;
}

// Rank 0 evaluates the best model; the others wait for what it says of a stop.
int Trainer::Finish() {
  run_.meter().Fill(summary_);
  std::string text = "done; ";
  if (valid_ && files_) {
    run_.ranks()->set_phase("evaluate the best model");
    const auto model = ReadAcousticModel(files_->path());
    best_ = std::make_unique<EvaluationResult>(EvaluateBest(*model));
    text = StrCat("held out, best model (", model->path, "):\n", FormatEvaluation(*best_));
  }
  if (valid_ && run_.Stopping()) {
    best_ = nullptr;
    return run_.Stop();
  }
  run_.Finish(text);
  return 0;
}

void Trainer::WriteReport(const TrainFacts& facts) const {
  if (best_) {
    for (const auto& [name, value] : best_->values) summary_->best[name] = value;
  }
  WriteSpeechReport(facts, best_.get());
}

}  // namespace mariana
