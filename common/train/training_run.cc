#include "common/train/training_run.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/signals.h"

namespace mariana {

TrainingRun::TrainingRun(Options options)
    : o_(std::move(options)),
      ranks_(o_.command_line->ranks),
      clock_(Clock::Real()),
      progress_(o_.command_line->progress, clock_, stdout),
      meter_(clock_, &state_, o_.log, o_.accuracy, o_.train->optimizer.clip_norm > 0),
      identity_(o_.identity) {}

int TrainingRun::Guard(const std::function<int()>& body) {
  try {
    return body();
  } catch (const Error& e) {
    LOG(INFO) << e.message();
    Failed(e.code());
    throw;
  }
}

// Summary, metrics and report tell of a run up to its failure.
void TrainingRun::Failed(ExitCode code) {
  if (!meter_.open()) return;  // it had not begun, or another rank tells
  meter_.Fill(o_.summary);
  try {
    meter_.WriteWindow();
    WriteReport(StatusName(code));
  } catch (const Error& e) {  // the first failure is the one to tell
    LOG(INFO) << e.message();
  }
}

bool TrainingRun::StopWasRequested() { return StopRequested(); }

void TrainingRun::Say(const std::string& text) {
  progress_.Message(text);
  LOG(INFO) << text;
}

void TrainingRun::SetSamples(int64_t samples) {
  samples_ = samples;
  const int64_t batch = o_.train->batch_size;
  state_.steps_in_epoch = (samples + batch - 1) / batch;
  // Other data under the same names would be read from the wrong place.
  identity_ += StrCat("training_", o_.unit, ": ", samples, "\n");
  ranks_->CheckSame("a training set of", StrCat(samples, " ", o_.unit),
                    "give all ranks the same data", ExitCode::kBadData);
}

void TrainingRun::SetWorkers(DataParallel* workers, const std::string& devices,
                             const std::string& topology) {
  workers_ = workers;
  topology_ = topology;
  devices_ = ranks_->size() == 1 ? devices : StrCat(ranks_->size(), " ranks x ", devices);
  Say(StrCat("net: ", workers->plan().parameters(), " parameters; ", devices_,
             "; topology ", topology_));
}

void TrainingRun::StartOrResume(const std::function<void()>& start) {
  ranks_->set_phase("start");
  const auto say = [this](const std::string& line) { Say(line); };
  if (!ResumeTraining(o_.run, identity_, workers_, &state_, o_.summary, say)) {
    workers_->Initialize();
    start();
    state_.SetHorizon(*o_.train);
  }
  o_.train->schedule.horizon_epochs = state_.horizon_epochs;
}

bool TrainingRun::DoneAlready() {
  if (ranks_->FromFirst(o_.run && o_.run->finished() ? "1" : "").empty() || Left()) return false;
  o_.summary->keep = true;
  if (o_.run) {
    Say(StrCat(o_.run->path(), " is done already, ", state_.epoch,
               " epochs; train.epochs=N trains on to N; report: ", o_.run->report_path()));
  }
  return true;
}

void TrainingRun::Begin() {
  if (o_.run) {
    o_.run->WriteConfig(o_.config);
    meter_.Open(*o_.run);
  }
  meter_.Fill(o_.summary);
}

bool TrainingRun::TrainEpoch(BatchSource* source,
                             const std::function<std::vector<StageSeconds>()>& seconds) {
  const TrainSpec& train = *o_.train;
  progress_.Begin(StrCat("epoch ", state_.epoch + 1, "/", train.epochs), samples_, o_.unit,
                  state_.step_in_epoch * train.batch_size);
  meter_.StartClock();
  bool stopped = false;
  while (!stopped && HasSteps()) {
    RunOptions run;
    run.first_step = state_.step;
    run.last_step = state_.NextPause(train);
    run.learning_rate = [this, &train](int64_t step) {
      return LearningRate(train.schedule, step, state_.steps_in_epoch) * state_.newbob.factor;
    };
    run.stop_requested = StopRequested;
    run.on_step = [this](const StepResult& result) { OnStep(result); };
    const int64_t wanted = run.last_step - run.first_step;
    stopped = workers_->Run(source, run) < wanted || Stopping();
    const bool epoch_done = state_.step_in_epoch == state_.steps_in_epoch;
    if (!stopped && !epoch_done && EpochsLeft()) Save(false);
  }
  meter_.WriteWindow();
  pipeline_ = seconds();
  meter_.TakeTimes(workers_);
  progress_.End();
  meter_.Fill(o_.summary);
  return !stopped;
}

// On a worker's thread, while the trainer's waits in DataParallel::Run.
void TrainingRun::OnStep(const StepResult& r) {
  meter_.OnStep(r);
  progress_.Update(std::min(state_.step_in_epoch * o_.train->batch_size, samples_),
                   {{"loss", r.loss}, {"lr", r.learning_rate}});
}

void TrainingRun::FinishEpoch(const std::vector<std::pair<std::string, double>>* held_out) {
  const TrainSpec& train = *o_.train;
  TrainState::Verdict verdict;
  if (held_out) {
    meter_.WriteHeldOut(*held_out);
    Say(StrCat("epoch ", state_.epoch + 1, ": held out", MetricsText(*held_out)));
    verdict = state_.Observe(train, {held_out->begin(), held_out->end()}, o_.best_by);
    for (const std::string& message : verdict.messages) Say(message);
  }
  if (verdict.roll_back) RollBack(o_.run, state_, workers_);
  state_.EndEpoch();
  if (verdict.better || verdict.roll_back || !EpochsLeft() ||
      state_.epoch % train.checkpoint.every_epochs == 0) {
    Save(verdict.better);
  }
  WriteReport("running");
}

void TrainingRun::Save(bool best) {
  meter_.Time("save", [&] {
    ranks_->set_phase("save");
    ranks_->Barrier();  // throws where a rank is gone
    meter_.WriteWindow();
    SaveTraining(o_.run, *workers_, state_, identity_, o_.train->checkpoint, best, o_.extras());
  });
  meter_.StartClock();
}

int TrainingRun::Stop() {
  Save(false);
  meter_.Fill(o_.summary);
  o_.summary->exit_code = ExitCode::kStopped;
  WriteReport("stopped");
  if (o_.run) {
    Say(StrCat("stopped after step ", state_.step, ", saved ", o_.run->checkpoint_path(state_.step),
               "; the same command with --resume goes on"));
  }
  return static_cast<int>(ExitCode::kStopped);
}

void TrainingRun::Finish(const std::string& text) {
  WriteReport("done");
  if (o_.run) Say(StrCat(text, "report: ", o_.run->report_path()));
}

void TrainingRun::WriteReport(const std::string& status) {
  meter_.Fill(o_.summary);
  if (!o_.run) return;
  TrainFacts facts;
  facts.program = o_.command_line->program;
  facts.job = o_.job;
  facts.config = o_.config;
  facts.unit = o_.unit;
  facts.status = status;
  facts.run = o_.run;
  facts.net = workers_->net(0);
  facts.state = &state_;
  facts.summary = o_.summary;
  facts.devices = devices_;
  facts.topology = topology_;
  facts.traffic = workers_->Traffic();
  facts.pipeline = pipeline_;
  facts.profile = meter_.profile();
  o_.write_report(facts);
}

}  // namespace mariana
