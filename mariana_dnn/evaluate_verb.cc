#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_dnn/evaluate.h"
#include "mariana_dnn/verbs.h"

namespace mariana {

int EvaluateVerb(const CommandLine& cl) {
  const SpeechJob job(cl);
  const auto device = job.InferenceDevice();
  const auto model = job.Model();
  Progress progress(cl.progress, Clock::Real(), stderr);
  bool begun = false;
  const EvaluationResult result = EvaluateModel(job, *model, device.get(), job.spec.output.set,
                                                [&](int64_t done, int64_t total) {
                                                  if (!begun)
                                                    progress.Begin("evaluate", total, "frames");
                                                  begun = true;
                                                  progress.Update(done, {});
                                                  return !StopRequested();
                                                });
  progress.End();
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  if (cl.progress == ProgressMode::kJson) {
    nlohmann::json out{{"model", model->path}, {"frames", result.scores.frames}};
    for (const auto& [name, value] : result.values) out[name] = value;
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  std::printf("%s\n%s", model->path.c_str(), FormatEvaluation(result).c_str());
  for (const RecognisedText& t : result.texts) {
    if (t.correct()) continue;
    std::printf("  %s: said \"%s\", heard \"%s\"\n", t.utterance.c_str(), t.said.c_str(),
                t.heard.c_str());
  }
  return 0;
}

}  // namespace mariana
