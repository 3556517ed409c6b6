// Trainer: the life of one `mariana_cnn train` run: data, workers, epochs, evaluation, schedule,
// checkpoints, resume. One thread drives it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/progress.h"
#include "common/train/train_checkpoint.h"
#include "common/train/train_meter.h"
#include "mariana_cnn/evaluate.h"
#include "mariana_cnn/image_job.h"

namespace mariana {

class Trainer {
 public:
  Trainer(ImageJob* job, const RunDirectory* run, Summary* summary);
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
  bool EpochsLeft() const { return state_.EpochsLeft(job_->spec.train); }
  ImageStreamOptions TrainStream() const;
  // False when a stop was requested.
  bool TrainEpoch();
  bool Evaluate();
  bool ScoreHeldOut();
  void FinishEpoch();
  void Save(bool best);
  int Stop();
  int Finish();
  void OnStep(const StepResult& result);
  void WriteReport(const std::string& status);

  ImageJob* job_;
  const RunDirectory* run_;
  Summary* summary_;
  Clock* clock_;
  Progress progress_;
  OpenedImages train_, valid_;
  ModelSpec model_;
  std::vector<std::unique_ptr<Device>> devices_;
  Topology topology_ = Topology::kLinear;
  std::string topology_reason_;
  std::unique_ptr<DataParallel> workers_;
  std::vector<std::unique_ptr<ImageScorer>> scorers_;
  TrainState state_;
  TrainMeter meter_;
  std::string identity_;
  EvaluationResult held_out_;           // of the last evaluation in this start
  std::vector<StageSeconds> pipeline_;  // of the last epoch
};

}  // namespace mariana
