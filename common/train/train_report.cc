#include "common/train/train_report.h"

#include <cstdio>

#include "common/base/error.h"

namespace mariana {
namespace {

template <class... Args>
std::string Format(const char* format, Args... args) {
  char buffer[128];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

ChartSeries Series(const std::vector<MetricsRow>& rows, const std::string& metric,
                   const std::string& name) {
  ChartSeries series;
  series.name = name;
  for (const MetricsRow& row : rows) {
    for (const auto& [key, value] : row.values) {
      if (key == metric) series.points.emplace_back(row.epoch, value);
    }
  }
  return series;
}

}  // namespace

std::string PercentText(double share) { return Format("%.1f %%", 100 * share); }

std::string CountText(double n) {
  if (n >= 1e9) return Format("%.2f G", n / 1e9);
  if (n >= 1e6) return Format("%.2f M", n / 1e6);
  if (n >= 1e4) return Format("%.1f k", n / 1e3);
  return Format("%.0f", n);
}

Report BeginTrainReport(const TrainFacts& facts) {
  Report report;
  report.title = facts.job;
  report.subtitle = StrCat(facts.program, " train · ", facts.devices, " · ", facts.state->step,
                           " steps, ", Format("%.3g", facts.state->Epochs()), " epochs, ",
                           CountText(static_cast<double>(facts.state->samples)), " ", facts.unit);
  report.status = facts.status;
  return report;
}

void AddBestFigure(const TrainFacts& facts, const std::string& metric, const std::string& label,
                   FigureForm form, Report* report) {
  const auto found = facts.summary->best.find(metric);
  if (found == facts.summary->best.end()) return;
  const double epoch = static_cast<double>(facts.state->best_step) /
                       static_cast<double>(facts.state->steps_in_epoch);
  report->figures.push_back(
      {label,
       form == FigureForm::kShare ? PercentText(found->second) : Format("%.3f", found->second),
       Format("held out, best model (epoch %.3g)", epoch)});
}

void AddSpeedFigure(const TrainFacts& facts, Report* report) {
  report->figures.push_back(
      {"Speed", CountText(facts.summary->samples_per_second),
       StrCat(facts.unit, Format(" a second; %.1f s of training", facts.state->seconds))});
}

void AddCharts(const TrainFacts& facts, const std::vector<MetricChart>& charts, Report* report) {
  const std::vector<MetricsRow> rows = ReadMetrics(facts.run->metrics_path());
  for (const MetricChart& metrics : charts) {
    LineChart chart;
    chart.title = metrics.title;
    chart.x_label = "epoch";
    chart.y_label = metrics.unit;
    for (const auto& [metric, name] : metrics.lines) {
      ChartSeries series = Series(rows, metric, name);
      if (!series.points.empty()) chart.series.push_back(std::move(series));
    }
    if (!chart.series.empty()) report->sections.emplace_back(std::move(chart));
  }
}

void AddTime(const TrainFacts& facts, Report* report) {
  AddStages(
      facts, "Where the time went (worker 0)",
      {"set_up", "data", "forward", "backward", "collect", "commit", "update", "evaluate", "save"},
      report);
  AddPipeline(facts, "last epoch", report);
}

void AddStages(const TrainFacts& facts, const std::string& title,
               const std::vector<std::string>& stages, Report* report) {
  StackedBar bar;
  bar.title = title;
  bar.unit = "s";
  for (const std::string& stage : stages) {
    const auto found = facts.summary->stage_seconds.find(stage);
    if (found != facts.summary->stage_seconds.end()) bar.parts.emplace_back(stage, found->second);
  }
  if (!bar.parts.empty()) report->sections.emplace_back(std::move(bar));
}

void AddPipeline(const TrainFacts& facts, const std::string& when, Report* report) {
  if (facts.pipeline.empty()) return;
  ReportTable table;
  table.title =
      StrCat("Data pipeline, ", when, " (the limit: ", LimitingStage(facts.pipeline), ")");
  table.columns = {"stage",  "threads",           "utilisation",
                   "busy s", "waits for input s", "waits for output s"};
  for (const StageSeconds& s : facts.pipeline) {
    const double all = s.busy + s.wait_input + s.wait_output;
    table.rows.push_back({s.name, StrCat(s.threads), all > 0 ? PercentText(s.busy / all) : "-",
                          Format("%.2f", s.busy), Format("%.2f", s.wait_input),
                          Format("%.2f", s.wait_output)});
  }
  report->sections.emplace_back(std::move(table));
}

void AddLayers(const TrainFacts& facts, Report* report) {
  ReportTable table;
  table.title = "Layers";
  table.columns = {"layer", "type", "output", "parameters", "MFLOP a sample", "activations MB"};
  const bool timed = !facts.profile.empty();
  if (timed) table.columns.insert(table.columns.end(), {"forward s", "backward s"});
  double parameters = 0, flops = 0, bytes = 0;
  for (size_t i = 0; i < facts.net->ops().size(); ++i) {
    const OpInfo& op = facts.net->ops()[i];
    parameters += static_cast<double>(op.parameters);
    flops += op.flops;
    bytes += static_cast<double>(op.activation_bytes);
    std::vector<std::string> row{op.name,
                                 op.type,
                                 op.output.ToString(),
                                 StrCat(op.parameters),
                                 Format("%.3f", op.flops / 1e6),
                                 Format("%.2f", static_cast<double>(op.activation_bytes) / 1e6)};
    if (timed && i < facts.profile.size()) {
      row.push_back(Format("%.2f", facts.profile[i].first));
      row.push_back(Format("%.2f", facts.profile[i].second));
    }
    table.rows.push_back(std::move(row));
  }
  std::vector<std::string> total{"total",
                                 "",
                                 "",
                                 Format("%.0f", parameters),
                                 Format("%.3f", flops / 1e6),
                                 Format("%.2f", bytes / 1e6)};
  if (timed) total.insert(total.end(), {"", ""});
  table.rows.push_back(std::move(total));
  table.last_row_is_total = true;
  report->sections.emplace_back(std::move(table));
}

void AddTraffic(const TrainFacts& facts, Report* report) {
  if (facts.traffic.empty()) return;
  ReportTable table;
  table.title = "Parameter exchange (topology " + facts.topology + ")";
  table.columns = {"link", "collect MB", "distribute MB"};
  for (const LinkBytes& link : facts.traffic) {
    table.rows.push_back({StrCat("worker ", link.from, " → worker ", link.to),
                          Format("%.1f", static_cast<double>(link.collect) / 1e6),
                          Format("%.1f", static_cast<double>(link.distribute) / 1e6)});
  }
  report->sections.emplace_back(std::move(table));
}

void AddConfig(const TrainFacts& facts, Report* report) {
  report->sections.emplace_back(Preformatted{"Config, each value with its origin", facts.config});
}

}  // namespace mariana
