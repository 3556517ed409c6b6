#include "mariana_cluster/cluster_report.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

constexpr size_t kMostFields = 40;  // whose importance is shown

std::string Format(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// The stages of all workers as one of each name, and their own thread as the last stage.
std::vector<StageSeconds> AllStages(const ClusterReportInput& in) {
  std::vector<StageSeconds> all;
  SumStages(in.facts.pipeline, true, &all);
  if (all.empty()) return all;
  const auto& seconds = in.facts.summary->stage_seconds;
  const auto of = [&seconds](const char* stage) {
    const auto found = seconds.find(stage);
    return found == seconds.end() ? 0 : found->second;
  };
  StageSeconds train;
  train.name = "train";
  train.threads = in.workers;
  for (const char* stage : {"learn", "gather", "forward", "backward", "apply", "dense"}) {
    train.busy += of(stage);
  }
  train.wait_input = of("data");
  train.wait_output = of("wait");
  all.push_back(train);
  return all;
}

const char* LossName(const JobSpec& job) {
  if (job.trains_frames()) return "Cross-entropy";
  return job.click.loss == ClickLoss::kSquared ? "Loss" : "Log loss";
}

void AddFigures(const ClusterReportInput& in, Report* report) {
  AddBestFigure(in.facts, "auc", "Area under the ROC curve", FigureForm::kNumber, report);
  AddBestFigure(in.facts, "accuracy", "State accuracy", FigureForm::kShare, report);
  AddBestFigure(in.facts, "loss", LossName(*in.job), FigureForm::kNumber, report);
  AddBestFigure(in.facts, "gauc", "AUC within groups", FigureForm::kNumber, report);
  AddBestFigure(in.facts, "rmse", "Root of the mean square", FigureForm::kNumber, report);
  AddBestFigure(in.facts, "calibration", "Predicted over actual clicks", FigureForm::kNumber,
                report);
  AddSpeedFigure(in.facts, report);
  if (in.bad_rows > 0) {
    report->figures.push_back(
        {"Malformed rows", StrCat(in.bad_rows), "left out; log/ names the first"});
  }
}

void AddLearningCurves(const ClusterReportInput& in, Report* report) {
  const bool squared = in.job->click.loss == ClickLoss::kSquared;
  AddCharts(in.facts,
            {{LossName(*in.job),
              squared ? "half of the mean square" : "nats",
              {{"train/loss", "training"}, {"valid/loss", "held out"}}},
             {"Area under the ROC curve",
              "before each update",
              {{"train/auc", "progressive"}, {"valid/auc", "held out"}}},
             {"Accuracy of frames",
              "share",
              {{"train/accuracy", "training"}, {"valid/accuracy", "held out"}}},
             {"AUC within groups", "", {{"valid/gauc", "held out"}}},
             {"Learning rate", "", {{"train/learning_rate", "learning rate"}}}},
            report);
}

void AddCalibration(const ClusterReportInput& in, Report* report) {
  if (in.held_out == nullptr || in.held_out->deciles.empty()) return;
  LineChart chart;
  chart.title = "Calibration";
  chart.x_label = "predicted";
  chart.y_label = "clicks of held-out rows, by tenths of the predictions";
  chart.series.resize(2);
  chart.series[0].name = "the model";
  chart.series[1].name = "as it should be";
  chart.series[1].reference = true;
  double most = 0;
  ReportTable table;
  table.title = "Calibration of held-out rows";
  table.columns = {"predictions", "rows", "predicted", "actual", "predicted / actual"};
  for (const CalibrationBin& bin : in.held_out->deciles) {
    chart.series[0].points.emplace_back(bin.prediction, bin.click_rate);
    most = std::max({most, bin.prediction, bin.click_rate});
    table.rows.push_back(
        {StrCat(Format("%.4g", bin.least), " to ", Format("%.4g", bin.most)), StrCat(bin.rows),
         Format("%.5f", bin.prediction), Format("%.5f", bin.click_rate),
         bin.click_rate > 0 ? Format("%.3f", bin.prediction / bin.click_rate) : "-"});
  }
  chart.series[1].points = {{0, 0}, {most, most}};
  report->sections.emplace_back(std::move(chart));
  report->sections.emplace_back(std::move(table));
}

void AddImportance(const ClusterReportInput& in, Report* report) {
  if (in.importance.empty()) return;
  BarList list;
  list.title = "Importance of fields";
  list.note = in.job->click.loss == ClickLoss::kSquared
                  ? "what the held-out RMSE gains when a field's values are shuffled among rows"
                  : "what the held-out AUC loses when a field's values are shuffled among rows";
  for (size_t i = 0; i < std::min(kMostFields, in.importance.size()); ++i) {
    list.bars.emplace_back(in.importance[i].field, in.importance[i].loss);
  }
  if (in.importance.size() > kMostFields) {
    list.note += StrCat("; the first ", kMostFields, " of ", in.importance.size());
  }
  report->sections.emplace_back(std::move(list));
}

void AddTimes(const ClusterReportInput& in, Report* report) {
  StackedBar run;
  run.title = "Where the time went";
  run.unit = "s";
  const auto& seconds = in.facts.summary->stage_seconds;
  const auto add = [&](const char* stage) {
    const auto found = seconds.find(stage);
    if (found != seconds.end()) run.parts.emplace_back(stage, found->second);
  };
  add("set_up");
  run.parts.emplace_back("train", in.facts.state->seconds);
  add("evaluate");
  add("save");
  report->sections.emplace_back(std::move(run));
  AddStages(
      in.facts,
      StrCat("Training: time of ", in.workers, in.workers == 1 ? " worker" : " workers, added up"),
      {"data", "wait", "learn", "gather", "forward", "backward", "apply", "dense"}, report);
  AddPipeline(in.facts, "all workers", report);
}

void AddTables(const ClusterReportInput& in, Report* report) {
  if (in.shards == nullptr || in.shards->empty()) return;
  ReportTable table;
  table.title = "Sparse tables";
  table.columns = {"table", "rows", "bytes a row", "MB", "of it on huge pages", "what a row holds"};
  for (const auto& shards : *in.shards) {
    int64_t rows = 0, bytes = 0, huge = 0, refused = 0;
    for (const auto& shard : shards) {
      const TableShard::Stats stats = shard->stats();
      rows += stats.rows;
      bytes += stats.committed_bytes;
      refused += stats.refused;
      huge += shard->huge_bytes();
    }
    const TableShard& first = *shards[0];
    table.rows.push_back(
        {first.name(), StrCat(rows), StrCat(first.layout().stride),
         Format("%.1f", static_cast<double>(bytes) / 1e6),
         PercentText(bytes > 0 ? static_cast<double>(huge) / static_cast<double>(bytes) : 0),
         StrCat(first.layout().Signature(),
                refused > 0 ? StrCat("; full: ", refused, " new keys refused") : "")});
  }
  report->sections.emplace_back(std::move(table));
}

}  // namespace

void WriteClusterReport(ClusterReportInput in) {
  in.facts.pipeline = AllStages(in);
  Report report = BeginTrainReport(in.facts);
  AddFigures(in, &report);
  AddLearningCurves(in, &report);
  AddCalibration(in, &report);
  AddImportance(in, &report);
  AddTimes(in, &report);
  AddTables(in, &report);
  if (in.facts.net != nullptr) AddLayers(in.facts, &report);
  AddConfig(in.facts, &report);
  WriteFileAtomic(in.facts.run->report_path(), RenderReport(report));
}

}  // namespace mariana
