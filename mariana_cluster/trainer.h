// ClusterTrainer: the agent's side of one `mariana_cluster train` run: what it measures, starts,
// asks for, shows and saves; servers and workers do the rest. One thread drives it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/data/pipeline.h"
#include "common/train/progress.h"
#include "common/train/train_meter.h"
#include "common/train/train_run.h"
#include "mariana_cluster/agent_task.h"
#include "mariana_cluster/crew.h"
#include "mariana_cluster/snapshot/rescue.h"
#include "mariana_cluster/snapshot/snapshots.h"
#include "mariana_cluster/trace/job_trace.h"
#include "mariana_cluster/trace/status_server.h"

namespace mariana {

class ClusterTrainer {
 public:
  // `config`: as it was given, for the run directory; `job`: the same, read.
  ClusterTrainer(const CommandLine& command_line, const EffectiveConfig& config, JobSpec* job,
                 const RunDirectory* run, Summary* summary);
  ~ClusterTrainer();
  // Trains to the end or to a stop request; the exit code.
  int Run();

 private:
  int RunToEnd();
  void Failed(ExitCode code);
  void Say(const std::string& text);
  void Warn(const std::string& text);
  void TellTrace();

  // ---- set-up (trainer_setup.cc)
  void SetUp();
  bool FindCheckpoint();
  void OpenTask();
  Crew::Listener MakeListener();
  void StartCrew();
  void MakeMemory();
  void StartValues(const StoredModel* stored);
  void StartRows(const StoredModel* stored);
  void MakeSnapshots();
  void TellRescue();

  bool EpochsLeft() const { return state_.EpochsLeft(job_->train); }
  bool EpochEnded() const { return position_.epoch_ended; }
  // False when a stop was requested.
  bool TrainEpoch();
  void BeginEpoch();
  std::vector<LanePosition> LanesToBegin() const;
  TrainCommand Command(int64_t pause, bool begins) const;
  int64_t NextPause() const;
  void TrainTo(int64_t pause, bool begins);
  void Drain();  // takes what workers counted into metrics and progress
  bool Evaluate();
  void FinishEpoch(const AgentTask::Values& held_out);
  void CountMemory();
  // Saves while training goes on; waits for the save before.
  void Save(bool best);
  void WaitForSnapshot();
  int Stop();
  int Finish();

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
  std::unique_ptr<AgentTask> task_;
  JobMemory memory_;
  JobTrace trace_;
  std::unique_ptr<Crew> crew_;
  std::unique_ptr<Snapshots> snapshots_;
  std::string rescue_folder_;  // "": servers do not save by themselves
  ClusterPosition position_;
  bool resumed_epoch_ = false;  // the epoch begins in its midst
  int64_t epoch_samples_ = 0;   // as estimated or, from the second epoch on, counted
  RunProgress::Totals drained_;
  int64_t bad_rows_ = 0;
  std::vector<StageSeconds> pipeline_;  // of the workers' feeds
  std::unique_ptr<StatusServer> status_;
};

}  // namespace mariana
