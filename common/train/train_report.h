// What the report.html of every training run shows: learning curves, where the time went, the
// pipeline's limit, layers, exchange, config. A program adds sections of its own between them.
// Pure functions but for reading metrics.jsonl.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/comm/exchange.h"
#include "common/data/pipeline.h"
#include "common/nn/net.h"
#include "common/train/metrics.h"
#include "common/train/report.h"
#include "common/train/run_directory.h"
#include "common/train/train_meter.h"

namespace mariana {

struct TrainFacts {
  std::string program, job, config;  // the effective config, YAML with origins
  std::string unit;                  // of samples: "frames"
  std::string status;                // running, done, stopped, ...
  const RunDirectory* run = nullptr;
  const Net* net = nullptr;
  const TrainState* state = nullptr;
  const Summary* summary = nullptr;  // filled
  std::string devices, topology;
  std::vector<LinkBytes> traffic;
  std::vector<StageSeconds> pipeline;              // of the last epoch
  std::vector<std::pair<double, double>> profile;  // per op: forward, backward; or empty
};

// Title, subtitle and status.
Report BeginTrainReport(const TrainFacts& facts);

// A held-out metric of the best model; nothing when there is none of this name.
enum class FigureForm { kShare, kNumber };
void AddBestFigure(const TrainFacts& facts, const std::string& metric, const std::string& label,
                   FigureForm form, Report* report);
void AddSpeedFigure(const TrainFacts& facts, Report* report);

// Metrics and the names of their lines; no chart without points.
struct MetricChart {
  std::string title, unit;
  std::vector<std::pair<std::string, std::string>> lines;  // {"train/loss", "training"}
};
void AddCharts(const TrainFacts& facts, const std::vector<MetricChart>& charts, Report* report);

// AddStages of a data-parallel run, and AddPipeline.
void AddTime(const TrainFacts& facts, Report* report);
// A bar of the summary's seconds of these stages; those that took none are left out.
void AddStages(const TrainFacts& facts, const std::string& title,
               const std::vector<std::string>& stages, Report* report);
// The stages of the pipeline, if there are any, and which is the limit. `when`: "last epoch".
void AddPipeline(const TrainFacts& facts, const std::string& when, Report* report);
void AddLayers(const TrainFacts& facts, Report* report);
void AddTraffic(const TrainFacts& facts, Report* report);
void AddConfig(const TrainFacts& facts, Report* report);

std::string PercentText(double share);  // "67.2 %"
std::string CountText(double n);        // "12.3 k"

}  // namespace mariana
