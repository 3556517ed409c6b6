// The report.html of a training run, from what the trainer knows and metrics.jsonl.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/comm/exchange.h"
#include "common/data/pipeline.h"
#include "common/nn/net.h"
#include "common/train/report.h"
#include "common/train/run_directory.h"
#include "mariana_dnn/evaluate.h"

namespace mariana {

struct TrainReportInput {
  const SpeechJob* job = nullptr;
  const RunDirectory* run = nullptr;
  std::string status;  // running, done, stopped
  const Net* net = nullptr;
  std::string devices, topology;
  std::vector<LinkBytes> traffic;
  int64_t steps = 0, samples = 0, best_step = 0, steps_in_epoch = 1;
  double epochs = 0, samples_per_second = 0, seconds = 0;
  std::map<std::string, double> best;
  std::map<std::string, double> stage_seconds;
  std::vector<StageSeconds> pipeline;
  std::vector<std::pair<double, double>> profile;  // per op: forward, backward; or empty
  const EvaluationResult* evaluation = nullptr;    // of the best model, at the end
};

Report MakeTrainReport(const TrainReportInput& in);
void WriteTrainReport(const TrainReportInput& in);

}  // namespace mariana
