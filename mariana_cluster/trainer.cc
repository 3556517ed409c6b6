#include "mariana_cluster/trainer.h"

#include <glog/logging.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <limits>

#include "common/base/error.h"
#include "common/train/identity.h"
#include "common/train/signals.h"

namespace mariana {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

}  // namespace

ClusterTrainer::ClusterTrainer(const CommandLine& command_line, const EffectiveConfig& config,
                               JobSpec* job, const RunDirectory* run, Summary* summary)
    : command_line_(command_line),
      config_(config),
      job_(job),
      run_(run),
      summary_(summary),
      clock_(Clock::Real()),
      progress_(command_line.progress, clock_, stdout),
      meter_(clock_, &state_, job->log, false, false),
      identity_(JobIdentity(job)),
      trace_({job->name, run->path()}) {}

ClusterTrainer::~ClusterTrainer() { trace_.Unwatch(); }

int ClusterTrainer::Run() {
  try {
    return RunToEnd();
  } catch (const Error& e) {
    LOG(INFO) << e.message();
    Failed(e.code());
    if (crew_ && e.code() == ExitCode::kLostWorkers) crew_->Abandon();
    throw;
  }
}

// For the user and for the run's log.
void ClusterTrainer::Say(const std::string& text) {
  progress_.Message(text);
  LOG(INFO) << text;
  trace_.Happened(text);
}

void ClusterTrainer::Warn(const std::string& text) {
  std::fprintf(stderr, "%s: warning: %s\n", command_line_.program.c_str(), text.c_str());
  LOG(WARNING) << text;
  trace_.Happened(text);
}

// How far it is, for who asks.
void ClusterTrainer::TellTrace() {
  trace_.Update([this](JobTrace::Facts* f) {
    f->epoch = state_.epoch;
    f->epochs = job_->train.epochs;
    f->step = state_.step;
    f->samples = position_.samples;
    f->epoch_samples = epoch_samples_;
  });
}

// Summary, metrics and report tell of a run up to its failure.
void ClusterTrainer::Failed(ExitCode code) {
  if (!meter_.open()) return;  // it had not begun
  try {
    Drain();
    meter_.WriteWindow();
    WriteReport(StatusName(code));
  } catch (const Error& e) {  // the first failure is the one to tell
    LOG(INFO) << e.message();
  }
}

int ClusterTrainer::RunToEnd() {
  if (FindCheckpoint() && run_->finished() && !EpochsLeft() && !state_.EvaluationLeft()) {
    summary_->keep = true;
    Say(StrCat(run_->path(), " is done already, ", state_.epoch,
               " epochs; train.epochs=N trains on to N; report: ", run_->report_path()));
    return 0;
  }
  status_ = std::make_unique<StatusServer>(run_->path(), &trace_, [] { RequestStop(SIGUSR1); });
  meter_.Time("set_up", [this] { SetUp(); });
  run_->WriteConfig(config_.yaml);
  meter_.Open(*run_);
  meter_.Fill(summary_);
  while (EpochsLeft() || state_.EvaluationLeft()) {
    if (!TrainEpoch()) return Stop();
    if (!task_->has_valid()) {
      FinishEpoch({});
    } else if (!Evaluate()) {
      return Stop();
    }
  }
  return Finish();
}

// ---- training

// Servers age their rows; workers that begin stand where the last run left them.
void ClusterTrainer::BeginEpoch() {
  const auto evicted = crew_->AskServers(
      {"epoch", 0, ToBody(EpochCommand{state_.epoch, !resumed_epoch_}), {}}, "epoch");
  int64_t rows = 0;
  for (const Message& m : evicted) rows += m.number;
  if (rows > 0) {
    Say(StrCat("epoch ", state_.epoch + 1, ": ", rows, " old rows evicted"));
    snapshots_->OnEviction();
  }
  memory_.progress->ClearLaneEnds();
  crew_->BeginEpoch(LanesToBegin());
  TellRescue();
}

// An epoch that goes on keeps its number of lanes.
std::vector<LanePosition> ClusterTrainer::LanesToBegin() const {
  if (!position_.lanes.empty()) return position_.lanes;
  return std::vector<LanePosition>(static_cast<size_t>(LaneCount(*job_, crew_->nodes())));
}

TrainCommand ClusterTrainer::Command(int64_t pause, bool begins) const {
  TrainCommand c;
  c.epoch = state_.epoch;
  c.epoch_steps = position_.epoch_steps;
  c.begins = begins;
  c.round = position_.rounds;
  c.step = state_.step;
  if (!memory_.ordered) return c;
  const int64_t blocks = job_->parallel.blocks;
  c.end_round = pause == kNever ? kNever : c.round + (pause - state_.step + blocks - 1) / blocks;
  c.first_batch = position_.epoch_rounds;
  return c;
}

// The step before which something else is due, apart from the end of the epoch.
int64_t ClusterTrainer::NextPause() const {
  int64_t pause = job_->train.max_steps > 0 ? job_->train.max_steps : kNever;
  if (const int64_t every = job_->train.checkpoint.every_steps; every > 0) {
    pause = std::min(pause, (state_.step / every + 1) * every);
  }
  return pause;
}

// To that step, the epoch's end or a stop; or less far, where a node had too few lanes left for the
// steps that it was dealt, or a worker was killed in one.
void ClusterTrainer::TrainTo(int64_t pause, bool begins) {
  crew_->GrantSteps(state_.step, pause);
  if (memory_.ordered) memory_.ordered->Continue();
  const Message command{"train", 0, ToBody(Command(pause, begins)), {}};
  const auto to_worker = [&](int) { return Message(command); };
  std::vector<Message> reports;
  if (memory_.ordered) {
    Crew::Answers answers =
        crew_->AskAll(to_worker, "paused", {"apply", 0, command.body, {}}, "applied");
    position_.rounds = answers.servers[0].number;
    reports = std::move(answers.workers);
  } else {
    reports = crew_->AskWorkers(to_worker, "paused");
  }
  crew_->Sync();
  Drain();
  bad_rows_ = 0;
  for (const Message& m : reports) bad_rows_ += FromBody<PausedReport>(m.body).bad_rows;
  if (memory_.ordered) {  // all have done the same rounds
    position_.epoch_rounds = FromBody<PausedReport>(reports[0].body).rounds;
    position_.epoch_ended = memory_.progress->LanesEnded(position_.epoch_rounds);
  } else {
    position_.lanes = crew_->positions();
    position_.epoch_ended = std::all_of(position_.lanes.begin(), position_.lanes.end(),
                                        [](const LanePosition& l) { return l.ended; });
  }
}

bool ClusterTrainer::TrainEpoch() {
  if (EpochEnded() || !EpochsLeft()) return true;  // only its evaluation is missing
  progress_.Begin(StrCat("epoch ", state_.epoch + 1, "/", job_->train.epochs), epoch_samples_,
                  job_->unit(), position_.samples);
  meter_.StartClock();
  trace_.SetPhase("train");
  bool begins = true;
  BeginEpoch();
  while (!crew_->stopping()) {
    const int64_t pause = NextPause();
    do {
      TrainTo(pause, begins);
      begins = false;
    } while (state_.step < pause && !EpochEnded() && !crew_->stopping());
    crew_->FlushDense();
    if (EpochEnded() || !EpochsLeft() || crew_->stopping()) break;
    Save(false);
  }
  resumed_epoch_ = false;
  meter_.WriteWindow();
  progress_.End();
  if (EpochEnded()) {
    state_.steps_in_epoch = state_.step_in_epoch;
    epoch_samples_ = position_.samples;  // no longer an estimate
    if (bad_rows_ > 0) {
      Say(StrCat(bad_rows_, " malformed row", bad_rows_ == 1 ? "" : "s", " left out"));
    }
  }
  meter_.Fill(summary_);
  return !crew_->stopping();
}

void ClusterTrainer::Drain() {
  const RunProgress::Totals now = crew_->totals();
  const int64_t steps = now.steps - drained_.steps;
  if (steps > 0) {
    const double loss = now.loss - drained_.loss, weight = now.weight - drained_.weight;
    const double rate = LearningRate(job_->train.schedule, state_.step, position_.epoch_steps);
    // In mid-epoch it is not known how many steps there are: more than were done.
    state_.steps_in_epoch = std::max(position_.epoch_steps, state_.step_in_epoch + steps + 1);
    meter_.OnSteps(steps, now.samples - drained_.samples, loss, weight, rate);
    position_.samples += now.samples - drained_.samples;
    progress_.Update(position_.samples, {{"loss", loss / weight}, {"lr", rate}});
  }
  for (int s = 0; s < static_cast<int>(WorkerStage::kCount); ++s) {
    const double seconds = now.seconds[s] - drained_.seconds[s];
    if (seconds > 0) meter_.AddSeconds(Name(static_cast<WorkerStage>(s)), seconds);
  }
  drained_ = now;
  TellTrace();
}

// ---- evaluation

bool ClusterTrainer::Evaluate() {
  trace_.SetPhase("evaluate");
  meter_.Time("evaluate", [&] {
    progress_.Begin("evaluate", 0, job_->unit());
    const auto parts =
        memory_.ordered ? job_->parallel.blocks : static_cast<int64_t>(LanesToBegin().size());
    for (int64_t losses = -1; losses != crew_->losses();) {
      losses = crew_->losses();
      task_->DropHeldOut();  // of a worker that is gone there is a part, and will be the whole
      crew_->AskWorkers([&](int) { return Message{"evaluate", parts, "", {}}; }, "evaluated");
    }
    progress_.Update(task_->held_out_samples(), {});
    progress_.End();
  });
  if (crew_->stopping()) return false;
  if (task_->held_out_samples() == 0) {
    throw Fail(
        ExitCode::kBadData,
        StrCat("nothing is held out: see ",
               job_->trains_frames() ? "data.frames.valid" : "data.valid and data.rows.held_out"));
  }
  FinishEpoch(task_->Summarize());
  return true;
}

// The epoch (or the last part of one, at max_steps) is trained and, with scores, evaluated.
void ClusterTrainer::FinishEpoch(const AgentTask::Values& held_out) {
  CountMemory();
  TrainState::Verdict verdict;
  if (!held_out.empty()) {
    meter_.WriteHeldOut(held_out);
    Say(StrCat("epoch ", state_.epoch + 1, ": held out", MetricsText(held_out)));
    const std::map<std::string, double> metrics{held_out.begin(), held_out.end()};
    verdict = state_.Observe(job_->train, metrics, metrics.count("auc") > 0 ? "auc" : "");
    for (const std::string& message : verdict.messages) Say(message);
  }
  state_.EndEpoch();
  if (EpochEnded()) {
    position_.epoch_ended = resumed_epoch_ = false;
    position_.samples = position_.epoch_rounds = 0;
    position_.lanes.clear();
  }
  if (verdict.better || !EpochsLeft() || state_.epoch % job_->train.checkpoint.every_epochs == 0) {
    Save(verdict.better);
  }
  try {
    WriteReport("running");
  } catch (const Error& e) {  // a full disk may have room again when the run ends
    if (e.code() != ExitCode::kIo) throw;
    Warn(e.message());
  }
}

}  // namespace mariana
