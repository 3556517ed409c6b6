#include "mariana_dnn/speech_report.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

std::string Shorten(const std::string& text) {
  constexpr size_t kMost = 60;
  return text.size() <= kMost ? text : text.substr(0, kMost) + " …";
}

std::string Margin(double margin) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", margin);
  return text;
}

void AddFigures(const TrainFacts& facts, const EvaluationResult* evaluation, Report* report) {
  AddBestFigure(facts, "accuracy", "State accuracy", FigureForm::kShare, report);
  AddBestFigure(facts, "accuracy_no_silence", "… without silence", FigureForm::kShare, report);
  AddBestFigure(facts, "phone_accuracy", "Phone accuracy", FigureForm::kShare, report);
  AddBestFigure(facts, "loss", "Cross-entropy", FigureForm::kNumber, report);
  if (evaluation && !evaluation->texts.empty()) {
    report->figures.push_back({"Texts told apart",
                               StrCat(evaluation->TextsRight(), " of ", evaluation->texts.size()),
                               "which of the closed list was said"});
  }
  AddSpeedFigure(facts, report);
}

void AddTexts(const EvaluationResult& evaluation, Report* report) {
  std::vector<RecognisedText> texts = evaluation.texts;
  std::stable_sort(texts.begin(), texts.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.correct(), a.margin) < std::make_pair(b.correct(), b.margin);
  });
  if (texts.size() > 15) texts.resize(15);
  ReportTable table;
  table.title = "Which text was said: the mistakes and the closest calls";
  table.columns = {"utterance", "margin a frame", "said", "heard"};
  for (const RecognisedText& t : texts) {
    table.rows.push_back({t.utterance, Margin(t.margin), Shorten(t.said),
                          t.correct() ? "the same" : Shorten(t.heard)});
  }
  report->sections.emplace_back(std::move(table));
}

}  // namespace

void WriteSpeechReport(const TrainFacts& facts, const EvaluationResult* evaluation) {
  Report report = BeginTrainReport(facts);
  AddFigures(facts, evaluation, &report);
  AddCharts(facts,
            {{"Cross-entropy", "nats", {{"train/loss", "training"}, {"valid/loss", "held out"}}},
             {"Accuracy of frames",
              "share",
              {{"train/accuracy", "training, state"},
               {"valid/accuracy", "held out, state"},
               {"valid/accuracy_no_silence", "held out, state, no silence"},
               {"valid/phone_accuracy", "held out, phone"}}},
             {"Learning rate", "", {{"train/learning_rate", "learning rate"}}},
             {"Gradient norm", "", {{"train/gradient_norm", "before clipping"}}}},
            &report);
  AddTime(facts, &report);
  if (evaluation && !evaluation->texts.empty()) AddTexts(*evaluation, &report);
  AddLayers(facts, &report);
  AddTraffic(facts, &report);
  AddConfig(facts, &report);
  WriteFileAtomic(facts.run->report_path(), RenderReport(report));
}

}  // namespace mariana
