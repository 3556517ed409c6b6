// The report.html of a training run: what all of them show, and what a model makes of images:
// samples, the worst mistakes, confusion, scores by class.
#pragma once

#include "common/train/train_report.h"
#include "mariana_cnn/evaluate.h"

namespace mariana {

// `held_out`: the last evaluation on `valid`; without verdicts before the first one.
struct ImageReportInput {
  TrainFacts facts;
  const ModelSpec* model = nullptr;
  LossKind loss = LossKind::kSoftmaxCrossEntropy;
  const ImageSource* valid = nullptr;  // or null
  const EvaluationResult* held_out = nullptr;
  int64_t bad_images = 0;  // of the training set
};

void WriteImageReport(const ImageReportInput& in);

}  // namespace mariana
