#include "mariana_dnn/trainer.h"

#include <glog/logging.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_dnn/train_report.h"

namespace mariana {
namespace {

// Of all threads of the process, since it started.
double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

Trainer::Trainer(SpeechJob* job, const RunDirectory* run, Summary* summary)
    : job_(job),
      run_(run),
      summary_(summary),
      clock_(Clock::Real()),
      progress_(job->command_line.progress, clock_, stdout),
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
  if (!metrics_) return;  // it had not begun
  FillSummary();
  try {
    WriteWindow();
    WriteReport(StatusName(code), nullptr);
  } catch (const Error& e) {  // the first failure is the one to tell
    LOG(INFO) << e.message();
  }
}

int Trainer::RunToEnd() {
  const int64_t begin = clock_->NowNs();
  const JobSpec& spec = job_->spec;
  devices_ = MakeDevices(job_->command_line.device, spec.parallel, spec.train.precision);
  OpenData();
  MakeWorkers();
  StartOrResume();
  if (run_->finished() && !EpochsLeft() && !EvaluationLeft()) {
    summary_->keep = true;
    Say(StrCat(run_->path(), " is done already, ", state_.epoch,
               " epochs; train.epochs=N trains on to N; report: ", run_->report_path()));
    return 0;
  }
  run_->WriteConfig(job_->effective.yaml);
  metrics_ = std::make_unique<MetricsLog>(*run_, state_.step);
  FillSummary();
  stage_seconds_["set_up"] = static_cast<double>(clock_->NowNs() - begin) * 1e-9;
  while (EpochsLeft() || EvaluationLeft()) {
    if (!TrainEpoch()) return Stop();
    if (!valid_) {
      FinishEpoch(nullptr);
    } else if (!Evaluate()) {
      return Stop();
    }
  }
  return Finish();
}

bool Trainer::EpochsLeft() const {
  const TrainSpec& t = job_->spec.train;
  return !state_.finished && state_.epoch < t.epochs &&
         (t.max_steps == 0 || state_.step < t.max_steps);
}

double Trainer::EpochNow() const {
  return static_cast<double>(state_.epoch) +
         static_cast<double>(state_.step_in_epoch) / static_cast<double>(steps_in_epoch_);
}

bool Trainer::TrainEpoch() {
  const JobSpec& spec = job_->spec;
  if (state_.step_in_epoch == steps_in_epoch_ || !EpochsLeft()) {
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
  const int64_t epoch_begin = state_.step - state_.step_in_epoch;
  FrameSource source(train_.get(), options, epoch_begin, &feeders_);
  CHECK_EQ(source.steps_in_epoch(), steps_in_epoch_);

  progress_.Begin(StrCat("epoch ", state_.epoch + 1, "/", spec.train.epochs),
                  train_->total_frames(), "frames", state_.step_in_epoch * spec.train.batch_size);
  last_ns_ = clock_->NowNs();
  bool stopped = false;
  while (!stopped && state_.step_in_epoch < steps_in_epoch_ && EpochsLeft()) {
    RunOptions run;
    run.first_step = state_.step;
    run.last_step = epoch_begin + steps_in_epoch_;
    if (spec.train.max_steps > 0) run.last_step = std::min(run.last_step, spec.train.max_steps);
    if (const int64_t every = spec.train.checkpoint.every_steps; every > 0) {
      run.last_step = std::min(run.last_step, (state_.step / every + 1) * every);
    }
    run.learning_rate = [this, &spec](int64_t step) {
      return LearningRate(spec.train.schedule, step, steps_in_epoch_) * state_.newbob.factor;
    };
    run.stop_requested = StopRequested;
    run.on_step = [this](const StepResult& result) { OnStep(result); };
    const int64_t wanted = run.last_step - run.first_step;
    stopped = workers_->Run(&source, run) < wanted || StopRequested();
    const bool epoch_done = state_.step_in_epoch == steps_in_epoch_;
    if (!stopped && !epoch_done && EpochsLeft()) Save(false);
  }
  WriteWindow();
  pipeline_ = source.Seconds();
  const PhaseSeconds s = workers_->TakePhaseSeconds();
  for (const auto& [name, seconds] : {std::pair<const char*, double>{"data", s.data},
                                      {"forward", s.forward},
                                      {"backward", s.backward},
                                      {"collect", s.collect},
                                      {"commit", s.commit},
                                      {"update", s.update}}) {
    stage_seconds_[name] += seconds;
  }
  const auto profile = workers_->TakeProfile();
  profile_.resize(std::max(profile_.size(), profile.size()));
  for (size_t i = 0; i < profile.size(); ++i) {
    profile_[i].first += profile[i].first;
    profile_[i].second += profile[i].second;
  }
  progress_.End();
  FillSummary();
  return !stopped;
}

// On worker 0's thread, while the main thread waits in DataParallel::Run.
void Trainer::OnStep(const StepResult& r) {
  ++state_.step;
  ++state_.step_in_epoch;
  state_.samples += r.samples;
  run_samples_ += r.samples;
  const int64_t now = clock_->NowNs();
  const double seconds = static_cast<double>(now - last_ns_) * 1e-9;
  last_ns_ = now;
  state_.seconds += seconds;
  run_seconds_ += seconds;
  window_.loss += r.loss * static_cast<double>(r.samples);
  window_.correct += r.correct;
  window_.samples += r.samples;
  window_.gradient_norm += r.gradient_norm;
  window_.learning_rate = r.learning_rate;
  ++window_.steps;
  if (state_.step % job_->spec.log.every_steps == 0) WriteWindow();
  progress_.Update(
      std::min(state_.step_in_epoch * job_->spec.train.batch_size, train_->total_frames()),
      {{"loss", r.loss}, {"lr", r.learning_rate}});
}

void Trainer::WriteWindow() {
  if (window_.samples == 0) return;
  const auto samples = static_cast<double>(window_.samples);
  MetricsRow row{state_.step, EpochNow(), state_.samples, state_.seconds, {}};
  row.values = {{"train/loss", window_.loss / samples},
                {"train/accuracy", static_cast<double>(window_.correct) / samples},
                {"train/learning_rate", window_.learning_rate},
                {"train/cpu_seconds", CpuSeconds()}};
  if (job_->spec.train.optimizer.clip_norm > 0) {
    row.values.emplace_back("train/gradient_norm",
                            window_.gradient_norm / static_cast<double>(window_.steps));
  }
  metrics_->Write(row);
  window_ = Window();
}

bool Trainer::Evaluate() {
  const int64_t begin = clock_->NowNs();
  FrameStream stream(valid_.get(), InOrder(job_->spec.data.context, job_->spec.train.batch_size));
  progress_.Begin("evaluate", valid_->total_frames(), "frames");
  std::vector<FrameScores> scores(scorers_.size());
  FrameBatch batch;
  int64_t done = 0;
  while (stream.Next(&batch)) {
    if (StopRequested()) return false;
    workers_->OnAll("evaluate", [&](int w) {
      const auto i = static_cast<size_t>(w);
      const Share share = DealOut(batch.rows(), 1, workers_->workers())[i];
      if (share.rows > 0) {
        scorers_[i]->Score(batch, share.begin, share.rows, job_->labels, &scores[i]);
      }
    });
    done += batch.rows();
    progress_.Update(done, {});
  }
  progress_.End();
  for (size_t w = 1; w < scores.size(); ++w) scores[0].Add(scores[w]);
  stage_seconds_["evaluate"] += static_cast<double>(clock_->NowNs() - begin) * 1e-9;
  FinishEpoch(&scores[0]);
  return true;
}

// The epoch (or the last part of one, at max_steps) is trained and, with scores, evaluated.
void Trainer::FinishEpoch(const FrameScores* scores) {
  const TrainSpec& train = job_->spec.train;
  bool better = false, roll_back = false;
  if (scores) {
    MetricsRow row{state_.step, EpochNow(), state_.samples, state_.seconds, {}};
    row.values = scores->Values("valid/", job_->labels);
    metrics_->Write(row);
    state_.last.clear();
    std::string text = StrCat("epoch ", state_.epoch + 1, ": held out");
    for (const auto& [name, value] : scores->Values("", job_->labels)) {
      state_.last[name] = value;
      char buffer[64];
      std::snprintf(buffer, sizeof buffer, "  %s %.4f", name.c_str(), value);
      text += buffer;
    }
    Say(text);
    const double loss = state_.last["loss"];
    better = state_.best_step == 0 || loss < state_.best["loss"];
    state_.epochs_without_gain = better ? 0 : state_.epochs_without_gain + 1;
    if (better) {
      state_.best = state_.last;
      state_.best_step = state_.step;
    }
    if (train.schedule.type == ScheduleType::kNewbob) {
      const auto verdict = state_.newbob.Observe(train.schedule, loss);
      roll_back = verdict == NewbobState::Verdict::kReject ||
                  verdict == NewbobState::Verdict::kRejectAndStop;
      state_.finished =
          verdict == NewbobState::Verdict::kStop || verdict == NewbobState::Verdict::kRejectAndStop;
      if (roll_back) Say("newbob: worse than before; back to the best values");
    }
    if (train.patience > 0 && state_.epochs_without_gain >= train.patience) {
      state_.finished = true;
      Say(StrCat("no better held-out loss for ", train.patience, " epochs: stopping"));
    }
  }
  if (roll_back) RollBack();
  state_.evaluated_step = state_.step;
  if (state_.step_in_epoch == steps_in_epoch_) {
    ++state_.epoch;
    state_.step_in_epoch = 0;
  }
  if (better || roll_back || !EpochsLeft() || state_.epoch % train.checkpoint.every_epochs == 0) {
    Save(better);
  }
  WriteReport("running", nullptr);
}

// Values and optimizer state of the best checkpoint; step count and schedule go on.
void Trainer::RollBack() {
  const Checkpoint best = LoadCheckpoint(*run_, state_.best_step);
  const std::string where = run_->checkpoint_path(best.step);
  workers_->LoadModel(best.model, where);
  workers_->LoadOptimizer(best.optimizer, where);
}

void Trainer::Save(bool best) {
  const int64_t begin = clock_->NowNs();
  WriteWindow();
  Checkpoint c;
  c.step = state_.step;
  c.model = workers_->SaveModel();
  for (HostTensor& t : TablesToTensors(tables_)) c.model.push_back(std::move(t));
  c.model_metadata = DescribeModel(&model_);
  c.optimizer = workers_->SaveOptimizer();
  c.state = state_.ToJson();
  c.state["identity"] = identity_;
  SaveOptions options;
  options.keep_last = static_cast<int>(job_->spec.train.checkpoint.keep);
  options.best = best;
  if (state_.best_step > 0) options.pinned.push_back(state_.best_step);
  SaveCheckpoint(*run_, c, options);
  last_ns_ = clock_->NowNs();
  stage_seconds_["save"] += static_cast<double>(last_ns_ - begin) * 1e-9;
}

int Trainer::Stop() {
  Save(false);
  FillSummary();
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
    for (const auto& named : FrameScores().Values("", job_->labels)) {
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
  FillSummary();
  if (!valid_) {
    WriteReport("done", nullptr);
    Say(StrCat("done; report: ", run_->report_path()));
    return 0;
  }
  const auto model = ReadAcousticModel(run_->path());
  const EvaluationResult result = EvaluateBest(*model);
  if (StopRequested()) return Stop();
  for (const auto& [name, value] : result.values) summary_->best[name] = value;
  WriteReport("done", &result);
  Say(StrCat("held out, best model (", model->path, "):\n", FormatEvaluation(result),
             "report: ", run_->report_path()));
  return 0;
}

void Trainer::FillSummary() {
  summary_->steps = state_.step;
  summary_->samples = state_.samples;
  summary_->samples_per_second =
      run_seconds_ > 0 ? static_cast<double>(run_samples_) / run_seconds_ : 0;
  summary_->stage_seconds = stage_seconds_;
  summary_->final = state_.last;
  summary_->best = state_.best;
  summary_->best_step = state_.best_step;
}

void Trainer::WriteReport(const std::string& status, const EvaluationResult* evaluation) {
  FillSummary();
  TrainReportInput in;
  in.job = job_;
  in.run = run_;
  in.status = status;
  in.net = workers_->net(0);
  in.devices = StrCat(devices_.size(), " x ", devices_[0]->info().name);
  in.topology = topology_reason_;
  in.traffic = workers_->Traffic();
  in.steps = state_.step;
  in.epochs = EpochNow();
  in.samples = state_.samples;
  in.samples_per_second = summary_->samples_per_second;
  in.seconds = state_.seconds;
  in.best = summary_->best;
  in.best_step = state_.best_step;
  in.steps_in_epoch = steps_in_epoch_;
  in.stage_seconds = stage_seconds_;
  in.pipeline = pipeline_;
  in.profile = profile_;
  in.evaluation = evaluation;
  WriteTrainReport(in);
}

}  // namespace mariana
