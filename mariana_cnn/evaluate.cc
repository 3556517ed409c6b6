#include "mariana_cnn/evaluate.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "common/base/error.h"

namespace mariana {

EvaluationResult EvaluateModel(const InferenceJob& job, bool flip,
                               const std::function<bool(int64_t, int64_t)>& progress) {
  const ImageModel& model = *job.model;
  const auto net = MakeInferenceNet(model, job.device.get(), kInferenceRows);
  ImageScorer scorer(net.get(), model.net.loss, flip);
  ImageStream stream(job.set.images.get(), job.stream);
  EvaluationResult result;
  ImageBatch batch;
  while (stream.Next(&batch)) {
    scorer.Score(batch, 0, batch.rows(), &result.verdicts);
    const auto done = static_cast<int64_t>(result.verdicts.size());
    if (!progress(done, job.set.images->size())) break;
  }
  result.bad_images = job.set.bad();
  result.values = ScoreVerdicts(result.verdicts, model.net.loss, model.spec.num_outputs);
  return result;
}

std::string FormatEvaluation(const EvaluationResult& result) {
  static const std::map<std::string, const char*> kNames = {{"loss", "loss"},
                                                            {"accuracy", "top-1 accuracy"},
                                                            {"top5_accuracy", "top-5 accuracy"},
                                                            {"auc", "area under the ROC curve"}};
  char line[160];
  std::snprintf(line, sizeof line, "  %-34s %zu\n", "images", result.verdicts.size());
  std::string out = line;
  if (result.bad_images > 0) {
    std::snprintf(line, sizeof line, "  %-34s %lld\n", "broken images, left out",
                  static_cast<long long>(result.bad_images));
    out += line;
  }
  for (const auto& [name, value] : result.values) {
    std::snprintf(line, sizeof line, "  %-34s %.4f\n", kNames.at(name), value);
    out += line;
  }
  return out;
}

std::string FormatClasses(const EvaluationResult& result, const std::vector<std::string>& classes) {
  char line[256];
  std::snprintf(line, sizeof line, "  %-34s %8s %8s %9s %8s\n", "class", "images", "recall",
                "precision", "F1");
  std::string out = line;
  const auto scores = ScoreClasses(result.verdicts, static_cast<int64_t>(classes.size()));
  for (size_t k = 0; k < scores.size(); ++k) {
    const ClassScore& s = scores[k];
    std::snprintf(line, sizeof line, "  %-34.60s %8lld %8.4f %9.4f %8.4f\n", classes[k].c_str(),
                  static_cast<long long>(s.images), s.recall(), s.precision(), s.f1());
    out += line;
  }
  return out;
}

std::vector<Confusion> WorstConfusions(const EvaluationResult& result, size_t most) {
  std::map<std::pair<int32_t, int32_t>, int64_t> counts;  // few pairs of many classes occur
  for (const ImageVerdict& v : result.verdicts) {
    if (v.guess != v.label) ++counts[{v.label, v.guess}];
  }
  std::vector<Confusion> worst;
  for (const auto& [pair, images] : counts) worst.push_back({pair.first, pair.second, images});
  std::stable_sort(worst.begin(), worst.end(),
                   [](const Confusion& a, const Confusion& b) { return a.images > b.images; });
  if (worst.size() > most) worst.resize(most);
  return worst;
}

}  // namespace mariana
