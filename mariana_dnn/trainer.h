// Trainer: the life of one `mariana_dnn train` run: data, workers, epochs, evaluation, schedule,
// checkpoints, resume. One thread drives it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/train/training_run.h"
#include "mariana_dnn/evaluate.h"
#include "mariana_dnn/frame_source.h"
#include "mariana_dnn/speech_job.h"

namespace mariana {

class Trainer {
 public:
  // `run` is rank 0's, null on others.
  Trainer(SpeechJob* job, const RunDirectory* run, Summary* summary);
  ~Trainer();
  // Trains to the end or to a stop request; the exit code.
  int Run();

 private:
  TrainingRun::Options RunOptionsOf(const RunDirectory* run, Summary* summary);
  int RunToEnd();
  void OpenData();
  void MakeWorkers();
  void StartValues();
  // False when a stop was requested.
  bool TrainEpoch();
  bool Evaluate(std::vector<std::pair<std::string, double>>* values);
  int Finish();
  EvaluationResult EvaluateBest(const AcousticModel& model);
  void WriteReport(const TrainFacts& facts) const;

  SpeechJob* job_;
  const RunDirectory* files_;
  Summary* summary_;
  TrainingRun run_;
  std::unique_ptr<SpeechCorpus> train_, valid_;
  FrameModel model_;
  FrameTables tables_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::unique_ptr<DataParallel> workers_;
  std::vector<std::unique_ptr<WorkerFrames>> frames_;
  std::vector<std::unique_ptr<FrameScorer>> scorers_;
  std::unique_ptr<EvaluationResult> best_;  // at the end of a run, on rank 0
};

}  // namespace mariana
