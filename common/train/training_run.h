// TrainingRun: what the trainers that use DataParallel have in common while they train: where the
// run stands, what it tells, its steps, its checkpoints, how it begins again and how it stops. A
// trainer owns one, and calls it between what is its own: data, evaluation, report.
//
// On a job of several ranks all make the same calls. Rank 0 alone has a run directory and writes;
// what it finds there all get; what any of them is asked (a stop) all do.
//
// Threading: the trainer's thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/train/command_line.h"
#include "common/train/progress.h"
#include "common/train/train_checkpoint.h"
#include "common/train/train_meter.h"
#include "common/train/train_report.h"

namespace mariana {

class TrainingRun {
 public:
  struct Options {
    const CommandLine* command_line = nullptr;
    std::string job, config;     // name; effective, YAML
    std::string unit;            // of samples: "frames"
    TrainSpec* train = nullptr;  // its schedule gets the run's horizon
    LogSpec log;
    std::string identity;               // see identity.h
    bool accuracy = true;               // steps tell how many samples were classified correctly
    std::string best_by;                // held-out metric, the larger the better; "": the loss
    const RunDirectory* run = nullptr;  // of rank 0
    Summary* summary = nullptr;
    std::function<ModelExtras()> extras;                  // for each checkpoint
    std::function<void(const TrainFacts&)> write_report;  // on rank 0
  };
  explicit TrainingRun(Options options);

  // Runs `body`; metrics and report tell of a run up to its failure, too.
  int Guard(const std::function<int()>& body);

  Ranks* ranks() const { return ranks_; }
  Clock* clock() const { return clock_; }
  const TrainState& state() const { return state_; }
  TrainMeter& meter() { return meter_; }
  Progress& progress() { return progress_; }
  // For the user and for the run's log.
  void Say(const std::string& text);

  // ---- set-up, in this order
  // `samples` of the training set: an epoch's steps, and part of the run's identity.
  void SetSamples(int64_t samples);
  // The workers, and what is said of them.
  void SetWorkers(DataParallel* workers, const std::string& devices, const std::string& topology);
  // Goes on with the newest checkpoint, or starts afresh: from the seed, then by `start`.
  void StartOrResume(const std::function<void()>& start);
  // True (and said) where a resumed run has nothing left to do.
  bool DoneAlready();
  void Begin();

  // ---- epochs
  bool EpochsLeft() const { return state_.EpochsLeft(*o_.train); }
  bool Left() const { return EpochsLeft() || state_.EvaluationLeft(); }
  // False where only the epoch's evaluation is missing.
  bool HasSteps() const { return state_.step_in_epoch < state_.steps_in_epoch && EpochsLeft(); }
  // The steps left of the epoch, with saves where they are due. False when a stop was requested.
  bool TrainEpoch(BatchSource* source, const std::function<std::vector<StageSeconds>()>& seconds);
  // The epoch (or the last part of one, at max_steps) is trained and, where there is a held-out
  // set, evaluated: the same values on all ranks.
  void FinishEpoch(const std::vector<std::pair<std::string, double>>* held_out);
  // Whether any rank was asked to stop: all get the same answer.
  bool Stopping() { return ranks_->Any(StopWasRequested()); }

  // ---- the end
  int Stop();
  void Finish(const std::string& text);
  void WriteReport(const std::string& status);

 private:
  static bool StopWasRequested();
  void Failed(ExitCode code);
  void OnStep(const StepResult& result);
  void Save(bool best);

  const Options o_;
  Ranks* const ranks_;
  Clock* const clock_;
  Progress progress_;
  TrainState state_;
  TrainMeter meter_;
  std::string identity_;
  int64_t samples_ = 0;  // of the training set
  DataParallel* workers_ = nullptr;
  std::string devices_, topology_;
  std::vector<StageSeconds> pipeline_;  // of the last epoch
};

}  // namespace mariana
