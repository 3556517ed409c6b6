#include "mariana_dnn/train_report.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/metrics.h"

namespace mariana {
namespace {

template <class... Args>
std::string Format(const char* format, Args... args) {
  char buffer[128];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

std::string Percent(double share) { return Format("%.1f %%", 100 * share); }

std::string Count(double n) {
  if (n >= 1e9) return Format("%.2f G", n / 1e9);
  if (n >= 1e6) return Format("%.2f M", n / 1e6);
  if (n >= 1e4) return Format("%.1f k", n / 1e3);
  return Format("%.0f", n);
}

std::string Shorten(const std::string& text) {
  constexpr size_t kMost = 60;
  return text.size() <= kMost ? text : text.substr(0, kMost) + " …";
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

LineChart Chart(const std::string& title, const std::string& y, const std::vector<MetricsRow>& rows,
                const std::vector<std::pair<std::string, std::string>>& metrics) {
  LineChart chart;
  chart.title = title;
  chart.x_label = "epoch";
  chart.y_label = y;
  for (const auto& [metric, name] : metrics) {
    ChartSeries series = Series(rows, metric, name);
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

void AddCharts(const TrainReportInput& in, Report* report) {
  const std::vector<MetricsRow> rows = ReadMetrics(in.run->metrics_path());
  for (LineChart& chart : std::vector<LineChart>{
           Chart("Cross-entropy", "nats", rows,
                 {{"train/loss", "training"}, {"valid/loss", "held out"}}),
           Chart("Accuracy of frames", "share", rows,
                 {{"train/accuracy", "training, state"},
                  {"valid/accuracy", "held out, state"},
                  {"valid/accuracy_no_silence", "held out, state, no silence"},
                  {"valid/phone_accuracy", "held out, phone"}}),
           Chart("Learning rate", "", rows, {{"train/learning_rate", "learning rate"}}),
           Chart("Gradient norm", "", rows, {{"train/gradient_norm", "before clipping"}})}) {
    if (!chart.series.empty()) report->sections.emplace_back(std::move(chart));
  }
}

void AddFigures(const TrainReportInput& in, Report* report) {
  const auto best = [&](const char* metric, const char* label, bool percent) {
    const auto found = in.best.find(metric);
    if (found == in.best.end()) return;
    const double epoch = static_cast<double>(in.best_step) / static_cast<double>(in.steps_in_epoch);
    report->figures.push_back({label,
                               percent ? Percent(found->second) : Format("%.3f", found->second),
                               Format("held out, best model (epoch %.3g)", epoch)});
  };
  best("accuracy", "State accuracy", true);
  best("accuracy_no_silence", "… without silence", true);
  best("phone_accuracy", "Phone accuracy", true);
  best("loss", "Cross-entropy", false);
  if (in.evaluation && !in.evaluation->texts.empty()) {
    report->figures.push_back(
        {"Texts told apart",
         StrCat(in.evaluation->TextsRight(), " of ", in.evaluation->texts.size()),
         "which of the closed list was said"});
  }
  report->figures.push_back({"Speed", Count(in.samples_per_second),
                             Format("frames a second; %.1f s of training", in.seconds)});
}

void AddTime(const TrainReportInput& in, Report* report) {
  StackedBar bar;
  bar.title = "Where the time went (worker 0)";
  bar.unit = "s";
  for (const char* stage : {"set_up", "data", "forward", "backward", "collect", "commit", "update",
                            "evaluate", "save"}) {
    const auto found = in.stage_seconds.find(stage);
    if (found != in.stage_seconds.end()) bar.parts.emplace_back(stage, found->second);
  }
  report->sections.emplace_back(std::move(bar));
  if (in.pipeline.empty()) return;
  ReportTable table;
  table.title = StrCat("Data pipeline, last epoch (the limit: ", LimitingStage(in.pipeline), ")");
  table.columns = {"stage", "threads", "busy s", "waits for input s", "waits for output s"};
  for (const StageSeconds& s : in.pipeline) {
    table.rows.push_back({s.name, StrCat(s.threads), Format("%.2f", s.busy),
                          Format("%.2f", s.wait_input), Format("%.2f", s.wait_output)});
  }
  report->sections.emplace_back(std::move(table));
}

void AddLayers(const TrainReportInput& in, Report* report) {
  ReportTable table;
  table.title = "Layers";
  table.columns = {"layer", "type", "output", "parameters", "MFLOP a sample", "activations MB"};
  const bool timed = !in.profile.empty();
  if (timed) table.columns.insert(table.columns.end(), {"forward s", "backward s"});
  double parameters = 0, flops = 0, bytes = 0;
  for (size_t i = 0; i < in.net->ops().size(); ++i) {
    const OpInfo& op = in.net->ops()[i];
    parameters += static_cast<double>(op.parameters);
    flops += op.flops;
    bytes += static_cast<double>(op.activation_bytes);
    std::vector<std::string> row{op.name,
                                 op.type,
                                 op.output.ToString(),
                                 StrCat(op.parameters),
                                 Format("%.3f", op.flops / 1e6),
                                 Format("%.2f", static_cast<double>(op.activation_bytes) / 1e6)};
    if (timed && i < in.profile.size()) {
      row.push_back(Format("%.2f", in.profile[i].first));
      row.push_back(Format("%.2f", in.profile[i].second));
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

void AddTraffic(const TrainReportInput& in, Report* report) {
  if (in.traffic.empty()) return;
  ReportTable table;
  table.title = "Parameter exchange (topology " + in.topology + ")";
  table.columns = {"link", "collect MB", "distribute MB"};
  for (const LinkBytes& link : in.traffic) {
    table.rows.push_back({StrCat("worker ", link.from, " → worker ", link.to),
                          Format("%.1f", static_cast<double>(link.collect) / 1e6),
                          Format("%.1f", static_cast<double>(link.distribute) / 1e6)});
  }
  report->sections.emplace_back(std::move(table));
}

void AddTexts(const TrainReportInput& in, Report* report) {
  if (!in.evaluation || in.evaluation->texts.empty()) return;
  std::vector<RecognisedText> texts = in.evaluation->texts;
  std::stable_sort(texts.begin(), texts.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.correct(), a.margin) < std::make_pair(b.correct(), b.margin);
  });
  if (texts.size() > 15) texts.resize(15);
  ReportTable table;
  table.title = "Which text was said: the mistakes and the closest calls";
  table.columns = {"utterance", "margin a frame", "said", "heard"};
  for (const RecognisedText& t : texts) {
    table.rows.push_back({t.utterance, Format("%.3f", t.margin), Shorten(t.said),
                          t.correct() ? "the same" : Shorten(t.heard)});
  }
  report->sections.emplace_back(std::move(table));
}

}  // namespace

Report MakeTrainReport(const TrainReportInput& in) {
  Report report;
  report.title = in.job->spec.name;
  report.subtitle = StrCat("mariana_dnn train · ", in.devices, " · ", in.steps, " steps, ",
                           Format("%.3g", in.epochs), " epochs, ",
                           Count(static_cast<double>(in.samples)), " frames");
  report.status = in.status;
  AddFigures(in, &report);
  AddCharts(in, &report);
  AddTime(in, &report);
  AddTexts(in, &report);
  AddLayers(in, &report);
  AddTraffic(in, &report);
  report.sections.emplace_back(
      Preformatted{"Config, each value with its origin", in.job->effective.yaml});
  return report;
}

void WriteTrainReport(const TrainReportInput& in) {
  WriteFileAtomic(in.run->report_path(), RenderReport(MakeTrainReport(in)));
}

}  // namespace mariana
