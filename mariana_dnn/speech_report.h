// The report.html of a training run, from what the trainer knows and metrics.jsonl.
#pragma once

#include "common/train/train_report.h"
#include "mariana_dnn/evaluate.h"

namespace mariana {

// `evaluation`: of the best model, at the end; null before.
void WriteSpeechReport(const TrainFacts& facts, const EvaluationResult* evaluation);

}  // namespace mariana
