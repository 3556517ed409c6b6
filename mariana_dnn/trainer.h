// Trainer: the life of one `mariana_dnn train` run: data, workers, epochs, evaluation, schedule,
// checkpoints, resume. One thread drives it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/train/progress.h"
#include "common/train/train_checkpoint.h"
#include "common/train/train_meter.h"
#include "mariana_dnn/evaluate.h"
#include "mariana_dnn/frame_source.h"
#include "mariana_dnn/speech_job.h"

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
  bool EpochsLeft() const { return state_.EpochsLeft(job_->spec.train); }
  // False when a stop was requested.
  bool TrainEpoch();
  bool Evaluate();
  void FinishEpoch(const FrameScores* scores);
  void Save(bool best);
  int Stop();
  EvaluationResult EvaluateBest(const AcousticModel& model);
  int Finish();
  void OnStep(const StepResult& result);
  void WriteReport(const std::string& status, const EvaluationResult* evaluation);

  SpeechJob* job_;
  const RunDirectory* run_;
  Summary* summary_;
  Clock* clock_;
  Progress progress_;
  std::unique_ptr<SpeechCorpus> train_, valid_;
  FrameModel model_;
  FrameTables tables_;
  std::vector<std::unique_ptr<Device>> devices_;
  Topology topology_ = Topology::kLinear;
  std::string topology_reason_;
  std::unique_ptr<DataParallel> workers_;
  std::vector<std::unique_ptr<WorkerFrames>> frames_;
  std::vector<std::unique_ptr<FrameScorer>> scorers_;
  TrainState state_;
  TrainMeter meter_;
  std::string identity_;
  std::vector<StageSeconds> pipeline_;  // of the last epoch
};

}  // namespace mariana
