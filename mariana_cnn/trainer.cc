#include "mariana_cnn/trainer.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_cnn/image_report.h"

namespace mariana {

Trainer::Trainer(ImageJob* job, const RunDirectory* run, Summary* summary)
    : job_(job),
      run_(run),
      summary_(summary),
      clock_(Clock::Real()),
      progress_(job->command_line.progress, clock_, stdout),
      meter_(clock_, &state_, job->spec.log, job->spec.has_classes(),
             job->spec.train.optimizer.clip_norm > 0),
      identity_(JobIdentity(&job->spec)) {}

Trainer::~Trainer() = default;

int Trainer::Run() {
  try {
    return RunToEnd();
  } catch (const Error& e) {
    LOG(INFO) << e.message();
    Failed(e.code());
    throw;
  }
}

// For the user and for the run's log.
void Trainer::Say(const std::string& text) {
  progress_.Message(text);
  LOG(INFO) << text;
}

// Summary, metrics and report tell of a run up to its failure.
void Trainer::Failed(ExitCode code) {
  if (!meter_.open()) return;  // it had not begun
  meter_.Fill(summary_);
  try {
    meter_.WriteWindow();
    WriteReport(StatusName(code));
  } catch (const Error& e) {  // the first failure is the one to tell
    LOG(INFO) << e.message();
  }
}

int Trainer::RunToEnd() {
  meter_.Time("set_up", [this] {
    const JobSpec& spec = job_->spec;
    devices_ = MakeDevices(job_->command_line.device, spec.parallel, spec.train.precision);
    OpenData();
    MakeWorkers();
    StartOrResume();
  });
  if (run_->finished() && !EpochsLeft() && !state_.EvaluationLeft()) {
    summary_->keep = true;
    Say(StrCat(run_->path(), " is done already, ", state_.epoch,
               " epochs; train.epochs=N trains on to N; report: ", run_->report_path()));
    return 0;
  }
  run_->WriteConfig(job_->effective.yaml);
  meter_.Open(*run_);
  meter_.Fill(summary_);
  while (EpochsLeft() || state_.EvaluationLeft()) {
    if (!TrainEpoch()) return Stop();
    if (valid_.images && !Evaluate()) return Stop();
    FinishEpoch();
  }
  return Finish();
}

ImageStreamOptions Trainer::TrainStream() const {
  const JobSpec& spec = job_->spec;
  ImageStreamOptions options =
      job_->StreamOptions(train_, spec.data.input, spec.data.train_transform, spec.train.compute());
  options.seed = static_cast<uint64_t>(spec.seed);
  options.epoch = state_.epoch;
  options.first_step = state_.step_in_epoch;
  options.batch_size = spec.train.batch_size;
  options.shuffle_window = spec.data.shuffle_window;
  options.shuffle = true;
  return options;
}

bool Trainer::TrainEpoch() {
  const JobSpec& spec = job_->spec;
  if (state_.step_in_epoch == state_.steps_in_epoch || !EpochsLeft()) {
    return true;  // only its evaluation is missing
  }
  ImageFeed feed(train_.images.get(), TrainStream(), state_.step - state_.step_in_epoch,
                 workers_.get());
  CHECK_EQ(feed.steps_in_epoch(), state_.steps_in_epoch);

  progress_.Begin(StrCat("epoch ", state_.epoch + 1, "/", spec.train.epochs), train_.images->size(),
                  "images", state_.step_in_epoch * spec.train.batch_size);
  meter_.StartClock();
  bool stopped = false;
  while (!stopped && state_.step_in_epoch < state_.steps_in_epoch && EpochsLeft()) {
    RunOptions run;
    run.first_step = state_.step;
    run.last_step = state_.NextPause(spec.train);
    run.learning_rate = [this, &spec](int64_t step) {
      return LearningRate(spec.train.schedule, step, state_.steps_in_epoch) * state_.newbob.factor;
    };
    run.stop_requested = StopRequested;
    run.on_step = [this](const StepResult& result) { OnStep(result); };
    const int64_t wanted = run.last_step - run.first_step;
    stopped = workers_->Run(&feed, run) < wanted || StopRequested();
    const bool epoch_done = state_.step_in_epoch == state_.steps_in_epoch;
    if (!stopped && !epoch_done && EpochsLeft()) Save(false);
  }
  meter_.WriteWindow();
  pipeline_ = feed.Seconds();
  meter_.TakeTimes(workers_.get());
  progress_.End();
  meter_.Fill(summary_);
  return !stopped;
}

// On worker 0's thread, while the main thread waits in DataParallel::Run.
void Trainer::OnStep(const StepResult& r) {
  meter_.OnStep(r);
  progress_.Update(
      std::min(state_.step_in_epoch * job_->spec.train.batch_size, train_.images->size()),
      {{"loss", r.loss}, {"lr", r.learning_rate}});
}

bool Trainer::Evaluate() {
  return meter_.Time("evaluate", [&] {
    bool done = false;
    workers_->WithAverages([&] { done = ScoreHeldOut(); });
    return done;
  });
}

bool Trainer::ScoreHeldOut() {
  const JobSpec& spec = job_->spec;
  ImageStreamOptions options =
      job_->StreamOptions(valid_, model_.image, model_.transform, spec.train.compute());
  options.batch_size = spec.train.batch_size;
  ImageStream stream(valid_.images.get(), options);
  progress_.Begin("evaluate", valid_.images->size(), "images");
  held_out_ = EvaluationResult();
  std::vector<std::vector<ImageVerdict>> verdicts(scorers_.size());
  ImageBatch batch;
  while (stream.Next(&batch)) {
    if (StopRequested()) return false;
    workers_->OnAll("evaluate", [&](int w) {
      const auto i = static_cast<size_t>(w);
      const Share share = DealOut(batch.rows(), 1, workers_->workers())[i];
      verdicts[i].clear();
      if (share.rows > 0) scorers_[i]->Score(batch, share.begin, share.rows, &verdicts[i]);
    });
    for (const auto& part : verdicts) {
      held_out_.verdicts.insert(held_out_.verdicts.end(), part.begin(), part.end());
    }
    progress_.Update(static_cast<int64_t>(held_out_.verdicts.size()), {});
  }
  progress_.End();
  held_out_.bad_images = valid_.bad();
  held_out_.values = ScoreVerdicts(held_out_.verdicts, spec.net.loss, model_.num_outputs);
  return true;
}

// The epoch (or the last part of one, at max_steps) is trained and, where there is a held-out set,
// evaluated.
void Trainer::FinishEpoch() {
  const TrainSpec& train = job_->spec.train;
  TrainState::Verdict verdict;
  if (valid_.images) {
    const MetricValues& values = held_out_.values;
    meter_.WriteHeldOut(values);
    Say(StrCat("epoch ", state_.epoch + 1, ": held out", MetricsText(values)));
    verdict = state_.Observe(train, {values.begin(), values.end()},
                             job_->spec.has_classes() ? "accuracy" : "");
    for (const std::string& message : verdict.messages) Say(message);
  }
  if (verdict.roll_back) RollBack(*run_, state_, workers_.get());
  state_.EndEpoch();
  if (verdict.better || verdict.roll_back || !EpochsLeft() ||
      state_.epoch % train.checkpoint.every_epochs == 0) {
    Save(verdict.better);
  }
  WriteReport("running");
}

void Trainer::Save(bool best) {
  meter_.Time("save", [&] {
    meter_.WriteWindow();
    SaveTraining(*run_, *workers_, state_, identity_, job_->spec.train.checkpoint, best,
                 {{}, DescribeModel(&model_)});
  });
  meter_.StartClock();
}

int Trainer::Stop() {
  Save(false);
  meter_.Fill(summary_);
  summary_->exit_code = ExitCode::kStopped;
  WriteReport("stopped");
  Say(StrCat("stopped after step ", state_.step, ", saved ", run_->checkpoint_path(state_.step),
             "; the same command with --resume goes on"));
  return static_cast<int>(ExitCode::kStopped);
}

// A run that was killed after its last save has been evaluated, but not in this start.
int Trainer::Finish() {
  if (valid_.images && held_out_.verdicts.empty() && !Evaluate()) return Stop();
  WriteReport("done");
  std::string text = "done\n";
  if (valid_.images) {
    text = StrCat("held out, after the last epoch:\n", FormatEvaluation(held_out_),
                  "best, after step ", state_.best_step, ":",
                  MetricsText({state_.best.begin(), state_.best.end()}), "\n");
  }
  Say(StrCat(text, "report: ", run_->report_path()));
  return 0;
}

void Trainer::WriteReport(const std::string& status) {
  meter_.Fill(summary_);
  ImageReportInput report;
  TrainFacts& facts = report.facts;
  facts.program = job_->command_line.program;
  facts.job = job_->spec.name;
  facts.config = job_->effective.yaml;
  facts.unit = "images";
  facts.status = status;
  facts.run = run_;
  facts.net = workers_->net(0);
  facts.state = &state_;
  facts.summary = summary_;
  facts.devices = StrCat(devices_.size(), " x ", devices_[0]->info().name);
  facts.topology = topology_reason_;
  facts.traffic = workers_->Traffic();
  facts.pipeline = pipeline_;
  facts.profile = meter_.profile();
  report.model = &model_;
  report.loss = job_->spec.net.loss;
  report.valid = valid_.images.get();
  report.held_out = &held_out_;
  report.bad_images = train_.bad();
  WriteImageReport(report);
}

}  // namespace mariana
