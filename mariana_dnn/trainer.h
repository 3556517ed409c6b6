// Trainer: the life of one `mariana_dnn train` run: data, workers, epochs, evaluation, schedule,
// checkpoints, resume. One thread drives it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/train/checkpoint.h"
#include "common/train/data_parallel.h"
#include "common/train/metrics.h"
#include "common/train/progress.h"
#include "common/train/summary.h"
#include "mariana_dnn/evaluate.h"
#include "mariana_dnn/speech_job.h"
#include "mariana_dnn/train_state.h"

namespace mariana {

class Trainer {
 public:
  Trainer(SpeechJob* job, const RunDirectory* run, Summary* summary);
  ~Trainer();
  // Trains to the end or to a stop request; the exit code.
  int Run();

 private:
  int RunToEnd();
  void Failed(ExitCode code);
  void Say(const std::string& text);
  void OpenData();
  void MakeWorkers();
  void StartOrResume();
  void CheckIdentity(const nlohmann::json& state, const std::string& checkpoint) const;
  bool EpochsLeft() const;
  bool EvaluationLeft() const { return state_.evaluated_step < state_.step; }
  // False when a stop was requested.
  bool TrainEpoch();
  bool Evaluate();
  void FinishEpoch(const FrameScores* scores);
  void RollBack();
  void Save(bool best);
  int Stop();
  EvaluationResult EvaluateBest(const AcousticModel& model);
  int Finish();
  void OnStep(const StepResult& result);
  void WriteWindow();
  double EpochNow() const;
  void FillSummary();
  void WriteReport(const std::string& status, const EvaluationResult* evaluation);

  SpeechJob* job_;
  const RunDirectory* run_;
  Summary* summary_;
  Clock* clock_;
  Progress progress_;
  std::unique_ptr<SpeechCorpus> train_, valid_;
  ModelSpec model_;
  ModelTables tables_;
  std::vector<std::unique_ptr<Device>> devices_;
  Topology topology_ = Topology::kLinear;
  std::string topology_reason_;
  std::unique_ptr<DataParallel> workers_;
  std::vector<std::unique_ptr<FrameFeeder>> feeders_;
  std::vector<std::unique_ptr<FrameScorer>> scorers_;
  std::unique_ptr<MetricsLog> metrics_;
  int64_t steps_in_epoch_ = 0;
  TrainState state_;
  std::string identity_;

  // Sums since the last line of metrics.
  struct Window {
    double loss = 0, gradient_norm = 0, learning_rate = 0;
    int64_t correct = 0, samples = 0, steps = 0;
  } window_;
  std::map<std::string, double> stage_seconds_;
  std::vector<StageSeconds> pipeline_;  // of the last epoch
  std::vector<std::pair<double, double>> profile_;
  double run_seconds_ = 0;  // training in this start
  int64_t run_samples_ = 0;
  int64_t last_ns_ = 0;
};

}  // namespace mariana
