#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/progress.h"
#include "common/train/signals.h"
#include "mariana_cnn/evaluate.h"
#include "mariana_cnn/verbs.h"

namespace mariana {
namespace {

using nlohmann::json;

json ToJson(const InferenceJob& job, const EvaluationResult& result) {
  json out{{"model", job.model->path},
           {"images", result.verdicts.size()},
           {"bad_images", result.bad_images}};
  for (const auto& [name, value] : result.values) out[name] = value;
  const auto& classes = job.model->spec.classes;
  if (classes.empty()) return out;
  const auto scores = ScoreClasses(result.verdicts, static_cast<int64_t>(classes.size()));
  for (size_t k = 0; k < classes.size(); ++k) {
    const ClassScore& s = scores[k];
    out["classes"].push_back({{"class", classes[k]},
                              {"images", s.images},
                              {"recall", s.recall()},
                              {"precision", s.precision()},
                              {"f1", s.f1()}});
  }
  return out;
}

// Tabs and ends of line in a name would break the table.
std::string Cell(std::string name) {
  for (char& c : name) {
    if (c == '\t' || c == '\n' || c == '\r') c = ' ';
  }
  return name;
}

void WriteConfusion(const std::string& path, const std::vector<std::string>& classes,
                    const EvaluationResult& result) {
  std::string table = "truth";
  for (const std::string& name : classes) table += "\t" + Cell(name);
  table += "\n";
  const auto counts = CountConfusion(result.verdicts, static_cast<int64_t>(classes.size()));
  for (size_t k = 0; k < classes.size(); ++k) {
    table += Cell(classes[k]);
    for (int64_t n : counts[k]) table += "\t" + std::to_string(n);
    table += "\n";
  }
  WriteFileAtomic(path, table);
}

void Print(const InferenceJob& job, const EvaluationResult& result) {
  std::printf("%s\n%s", job.model->path.c_str(), FormatEvaluation(result).c_str());
  const auto& classes = job.model->spec.classes;
  if (classes.empty()) return;
  std::printf("%s", FormatClasses(result, classes).c_str());
  const auto worst = WorstConfusions(result, 5);
  if (!worst.empty()) std::printf("  most often confused:\n");
  for (const Confusion& c : worst) {
    std::printf("    %s taken for %s: %lld images\n", classes[static_cast<size_t>(c.truth)].c_str(),
                classes[static_cast<size_t>(c.said)].c_str(), static_cast<long long>(c.images));
  }
}

}  // namespace

int EvaluateVerb(const CommandLine& cl) {
  const ImageJob job(cl);
  const InferenceJob inference = OpenForInference(job, Labels::kNeeded);
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("evaluate", inference.set.images->size(), "images");
  const EvaluationResult result =
      EvaluateModel(inference, job.spec.evaluate.flip, [&](int64_t done, int64_t) {
        progress.Update(done, {});
        return !StopRequested();
      });
  progress.End();
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  if (!job.spec.evaluate.confusion.empty()) {
    WriteConfusion(job.spec.evaluate.confusion, inference.model->spec.classes, result);
  }
  if (cl.progress == ProgressMode::kJson) {
    std::printf("%s\n", ToJson(inference, result).dump().c_str());
  } else {
    Print(inference, result);
  }
  return 0;
}

}  // namespace mariana
