// Trainer: the life of one `mariana_cnn train` run: data, workers, epochs, evaluation, schedule,
// checkpoints, resume. One thread drives it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/training_run.h"
#include "mariana_cnn/evaluate.h"
#include "mariana_cnn/image_job.h"

namespace mariana {

class Trainer {
 public:
  // `run` is rank 0's, null on others.
  Trainer(ImageJob* job, const RunDirectory* run, Summary* summary);
  ~Trainer();
  // Trains to the end or to a stop request; the exit code.
  int Run();

 private:
  TrainingRun::Options RunOptionsOf(const RunDirectory* run, Summary* summary);
  int RunToEnd();
  void OpenData();
  void MakeWorkers();
  void StartValues();
  ImageStreamOptions TrainStream() const;
  // False when a stop was requested.
  bool TrainEpoch();
  bool Evaluate();
  void ScoreHeldOut();
  int Finish();
  void WriteReport(const TrainFacts& facts);

  ImageJob* job_;
  TrainingRun run_;
  OpenedImages train_, valid_;
  ModelSpec model_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::unique_ptr<DataParallel> workers_;
  std::vector<std::unique_ptr<ImageScorer>> scorers_;
  EvaluationResult held_out_;  // of the last evaluation in this start
};

}  // namespace mariana
