#include "mariana_dnn/trainer.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_dnn/speech_report.h"

namespace mariana {

Trainer::Trainer(SpeechJob* job, const RunDirectory* run, Summary* summary)
    : job_(job),
      run_(run),
      summary_(summary),
      clock_(Clock::Real()),
      progress_(job->command_line.progress, clock_, stdout),
      meter_(clock_, &state_, job->spec.log, true, job->spec.train.optimizer.clip_norm > 0),
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
    WriteReport(StatusName(code), nullptr);
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
    if (!valid_) {
      FinishEpoch(nullptr);
    } else if (!Evaluate()) {
      return Stop();
    }
  }
  return Finish();
}

bool Trainer::TrainEpoch() {
  const JobSpec& spec = job_->spec;
  if (state_.step_in_epoch == state_.steps_in_epoch || !EpochsLeft()) {
    return true;  // only its evaluation is missing
  }
  FrameStreamOptions options;
  options.seed = static_cast<uint64_t>(spec.seed);
  options.epoch = state_.epoch;
  options.batch_size = spec.train.batch_size;
  options.block_frames = spec.data.block_frames;
  options.left = static_cast<int32_t>(spec.data.context.left);
  options.right = static_cast<int32_t>(spec.data.context.right);
  options.first_step = state_.step_in_epoch;
  options.readers = static_cast<int>(spec.data.reader_threads);
  FrameSource source(train_.get(), options, state_.step - state_.step_in_epoch, &frames_);
  CHECK_EQ(source.steps_in_epoch(), state_.steps_in_epoch);

  progress_.Begin(StrCat("epoch ", state_.epoch + 1, "/", spec.train.epochs),
                  train_->total_frames(), "frames", state_.step_in_epoch * spec.train.batch_size);
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
    stopped = workers_->Run(&source, run) < wanted || StopRequested();
    const bool epoch_done = state_.step_in_epoch == state_.steps_in_epoch;
    if (!stopped && !epoch_done && EpochsLeft()) Save(false);
  }
  meter_.WriteWindow();
  pipeline_ = source.Seconds();
  meter_.TakeTimes(workers_.get());
  progress_.End();
  meter_.Fill(summary_);
  return !stopped;
}

// On worker 0's thread, while the main thread waits in DataParallel::Run.
void Trainer::OnStep(const StepResult& r) {
  meter_.OnStep(r);
  progress_.Update(
      std::min(state_.step_in_epoch * job_->spec.train.batch_size, train_->total_frames()),
      {{"loss", r.loss}, {"lr", r.learning_rate}});
}

bool Trainer::Evaluate() {
  std::vector<FrameScores> scores(scorers_.size());
  const bool done = meter_.Time("evaluate", [&] {
    FrameStream stream(valid_.get(), InOrder(job_->spec.data.context, job_->spec.train.batch_size));
    progress_.Begin("evaluate", valid_->total_frames(), "frames");
    FrameBatch batch;
    int64_t frames = 0;
    while (stream.Next(&batch)) {
      if (StopRequested()) return false;
      workers_->OnAll("evaluate", [&](int w) {
        const auto i = static_cast<size_t>(w);
        const Share share = DealOut(batch.rows(), 1, workers_->workers())[i];
        if (share.rows > 0) {
          scorers_[i]->Score(batch, share.begin, share.rows, job_->labels, &scores[i]);
        }
      });
      frames += batch.rows();
      progress_.Update(frames, {});
    }
    progress_.End();
    return true;
  });
  if (!done) return false;
  for (size_t w = 1; w < scores.size(); ++w) scores[0].Add(scores[w]);
  FinishEpoch(&scores[0]);
  return true;
}

// The epoch (or the last part of one, at max_steps) is trained and, with scores, evaluated.
void Trainer::FinishEpoch(const FrameScores* scores) {
  const TrainSpec& train = job_->spec.train;
  TrainState::Verdict verdict;
  if (scores) {
    const auto values = scores->Values(job_->labels);
    meter_.WriteHeldOut(values);
    Say(StrCat("epoch ", state_.epoch + 1, ": held out", MetricsText(values)));
    verdict = state_.Observe(train, {values.begin(), values.end()});
    for (const std::string& message : verdict.messages) Say(message);
  }
  if (verdict.roll_back) RollBack(*run_, state_, workers_.get());
  state_.EndEpoch();
  if (verdict.better || verdict.roll_back || !EpochsLeft() ||
      state_.epoch % train.checkpoint.every_epochs == 0) {
    Save(verdict.better);
  }
  WriteReport("running", nullptr);
}

void Trainer::Save(bool best) {
  meter_.Time("save", [&] {
    meter_.WriteWindow();
    SaveTraining(*run_, *workers_, state_, identity_, job_->spec.train.checkpoint, best,
                 {TablesToTensors(tables_), DescribeModel("mariana_dnn", &model_)});
  });
  meter_.StartClock();
}

int Trainer::Stop() {
  Save(false);
  meter_.Fill(summary_);
  summary_->exit_code = ExitCode::kStopped;
  WriteReport("stopped", nullptr);
  Say(StrCat("stopped after step ", state_.step, ", saved ", run_->checkpoint_path(state_.step),
             "; the same command with --resume goes on"));
  return static_cast<int>(ExitCode::kStopped);
}

// Its frames were scored at the end of its epoch: only which texts were said is still to be found.
EvaluationResult Trainer::EvaluateBest(const AcousticModel& model) {
  EvaluationResult result;
  if (job_->spec.data.texts.empty()) {
    result.scores.frames = valid_->total_frames();
    for (const auto& named : FrameScores().Values(job_->labels)) {
      const auto known = state_.best.find(named.first);  // not where a resumed job adds `states`
      if (known != state_.best.end()) result.values.push_back(*known);
    }
    return result;
  }
  progress_.Begin("evaluate the best model", valid_->total_frames(), "frames");
  result = EvaluateModel(*job_, model, devices_[0].get(), DataSet::kValid,
                         [this](int64_t done, int64_t) {
                           progress_.Update(done, {});
                           return !StopRequested();
                         });
  progress_.End();
  return result;
}

int Trainer::Finish() {
  meter_.Fill(summary_);
  if (!valid_) {
    WriteReport("done", nullptr);
    Say(StrCat("done; report: ", run_->report_path()));
    return 0;
  }
  const auto model = ReadAcousticModel(run_->path());
  const EvaluationResult result = EvaluateBest(*model);
  if (StopRequested()) return Stop();
  WriteReport("done", &result);
  Say(StrCat("held out, best model (", model->path, "):\n", FormatEvaluation(result),
             "report: ", run_->report_path()));
  return 0;
}

void Trainer::WriteReport(const std::string& status, const EvaluationResult* evaluation) {
  meter_.Fill(summary_);
  if (evaluation) {
    for (const auto& [name, value] : evaluation->values) summary_->best[name] = value;
  }
  TrainFacts facts;
  facts.program = job_->command_line.program;
  facts.job = job_->spec.name;
  facts.config = job_->effective.yaml;
  facts.unit = "frames";
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
  WriteSpeechReport(facts, evaluation);
}

}  // namespace mariana
