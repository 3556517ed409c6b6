// ClickTrainer: the agent's side of one `mariana_cluster train` run: what it measures, starts, asks
// for, shows and saves; servers and workers do the rest. One thread drives it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/data/pipeline.h"
#include "common/train/progress.h"
#include "common/train/train_meter.h"
#include "common/train/train_run.h"
#include "mariana_cluster/click_data.h"
#include "mariana_cluster/cluster_checkpoint.h"
#include "mariana_cluster/crew.h"
#include "mariana_cluster/scores/click_scores.h"
#include "mariana_cluster/scores/field_importance.h"

namespace mariana {

class ClickTrainer {
 public:
  // `config`: as it was given, for the run directory; `job`: the same, read.
  ClickTrainer(const CommandLine& command_line, const EffectiveConfig& config, JobSpec* job,
               const RunDirectory* run, Summary* summary);
  ~ClickTrainer();
  // Trains to the end or to a stop request; the exit code.
  int Run();

 private:
  int RunToEnd();
  void Failed(ExitCode code);
  void Say(const std::string& text);

  // ---- set-up (trainer_setup.cc)
  void SetUp();
  bool FindCheckpoint();
  void MeasureData();
  void StartCrew();
  void MakeMemory();
  void StartValues();
  void DescribeTheModel();
  void SayWhatThereIs(int64_t rows);

  bool EpochsLeft() const { return state_.EpochsLeft(job_->train); }
  bool EpochEnded() const { return position_.epoch_ended; }
  // False when a stop was requested.
  bool TrainEpoch();
  void BeginEpoch();
  TrainCommand CommandFor(int worker, bool begins) const;
  int64_t NextPause() const;
  void TrainToPause(bool begins);
  void Drain();  // takes what workers counted into metrics and progress
  bool Evaluate();
  void FinishEpoch(ClickSummary* held_out);
  void Save(bool best);
  int Stop();
  int Finish();

  // ---- what is told of the run (trainer_report.cc)
  std::vector<std::pair<std::string, double>> TakeProgressive();
  // What the best model owes to each field, where the job wants to know.
  void MeasureImportance();
  void WriteReport(const std::string& status);

  const CommandLine& command_line_;
  const EffectiveConfig& config_;
  JobSpec* job_;
  const RunDirectory* run_;
  Summary* summary_;
  Clock* clock_;
  Progress progress_;
  TrainState state_;
  TrainMeter meter_;
  std::string identity_;

  std::optional<CheckpointFolder> from_;  // resumed
  ClickData data_;
  Metadata model_metadata_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<ClickModel> model_;
  JobMemory memory_;
  std::unique_ptr<Crew> crew_;
  ClusterPosition position_;
  bool resumed_epoch_ = false;  // the epoch begins in its midst
  int64_t epoch_samples_ = 0;   // as estimated or, from the second epoch on, counted
  RunProgress::Totals drained_;
  int64_t bad_rows_ = 0;
  std::unique_ptr<ClickScores> scores_;
  std::unique_ptr<ClickScores> progressive_;  // since the last line of metrics
  std::vector<FieldImportance> importance_;
  std::unique_ptr<ClickSummary> held_out_;  // the last one
  std::vector<StageSeconds> pipeline_;      // of the workers' feeds
};

}  // namespace mariana
