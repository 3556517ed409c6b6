#include "mariana_dnn/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "common/base/error.h"
#include "mariana_dnn/decode.h"

namespace mariana {
namespace {

// The closed list and what was said, from `utterance word word ...` lines.
class TextTask {
 public:
  explicit TextTask(const SpeechJob& job) {
    const DataSpec& data = job.spec.data;
    std::set<std::string> distinct;
    for (const Transcript& t : ReadTranscripts(data.texts)) {
      if (distinct.insert(t.text).second) texts_.push_back(t.text);
      said_[t.utterance] = t.text;
    }
    decoder_ = std::make_unique<TextDecoder>(job.states, ReadLexicon(data.lexicon, job.states),
                                             texts_, data.silence_phones);
  }
  // Log posteriors [frames, labels] become scaled log-likelihoods in place.
  RecognisedText Recognise(const std::string& utterance, const std::vector<float>& log_prior,
                           Matrix* log_posteriors) const {
    for (int32_t t = 0; t < log_posteriors->rows; ++t) {
      float* row = log_posteriors->row(t);
      for (size_t k = 0; k < log_prior.size(); ++k) row[k] -= log_prior[k];
    }
    const TextDecoder::Result best =
        decoder_->Decode(log_posteriors->data.data(), log_posteriors->rows);
    RecognisedText out;
    out.utterance = utterance;
    const auto said = said_.find(utterance);
    if (said != said_.end()) out.said = said->second;
    if (best.text >= 0) out.heard = texts_[static_cast<size_t>(best.text)];
    out.margin = best.margin / std::max(1, log_posteriors->rows);
    return out;
  }

 private:
  std::vector<std::string> texts_;
  std::map<std::string, std::string> said_;
  std::unique_ptr<TextDecoder> decoder_;
};

// Scores every frame of the corpus; progress as in EvaluateModel.
void ScoreFrames(const SpeechCorpus& corpus, const ContextSpec& context, const LabelInfo& labels,
                 FrameScorer* scorer, FrameScores* scores,
                 const std::function<bool(int64_t, int64_t)>& progress) {
  FrameStream stream(&corpus, InOrder(context, kInferenceRows));
  FrameBatch batch;
  while (stream.Next(&batch)) {
    scorer->Score(batch, 0, batch.rows(), labels, scores);
    if (!progress(scores->frames, corpus.total_frames())) return;
  }
}

}  // namespace

std::vector<float> LogPrior(const std::vector<float>& prior) {
  // A class that was never seen gets the share of half a frame in a million.
  std::vector<float> out;
  for (float p : prior) out.push_back(std::log(std::max(p, 5e-7f)));
  return out;
}

int64_t EvaluationResult::TextsRight() const {
  return std::count_if(texts.begin(), texts.end(),
                       [](const RecognisedText& t) { return t.correct(); });
}

EvaluationResult EvaluateModel(const SpeechJob& job, const AcousticModel& model, Device* device,
                               DataSet set, const std::function<bool(int64_t, int64_t)>& progress) {
  const auto corpus = OpenFor(job, model, set);
  if (!corpus->has_labels()) {
    throw Fail(ExitCode::kUsage, job.command_line.config, ": data.",
               set == DataSet::kTrain ? "train" : "valid", ".alignments: needed to evaluate");
  }
  const auto net = MakeInferenceNet(model, device, kInferenceRows);
  FrameScorer scorer(net.get(), model.spec.context);
  EvaluationResult result;
  if (job.spec.data.texts.empty()) {
    ScoreFrames(*corpus, model.spec.context, job.labels, &scorer, &result.scores, progress);
    result.values = result.scores.Values(job.labels);
    return result;
  }
  const TextTask task(job);
  const std::vector<float> log_prior = LogPrior(model.tables.prior);
  int64_t done = 0;
  ForEachUtterance(*corpus, &scorer, kInferenceRows, model.spec.context, model.spec.num_labels,
                   job.labels, &result.scores, [&](int u, const Matrix& log_posteriors) {
                     Matrix scratch = log_posteriors;
                     result.texts.push_back(task.Recognise(corpus->id(u), log_prior, &scratch));
                     done += corpus->frames(u);
                     return progress(done, corpus->total_frames());
                   });
  result.values = result.scores.Values(job.labels);
  result.values.emplace_back("text_accuracy",
                             static_cast<double>(result.TextsRight()) /
                                 static_cast<double>(std::max<size_t>(result.texts.size(), 1)));
  return result;
}

std::string FormatEvaluation(const EvaluationResult& result) {
  std::string out;
  char line[160];
  const auto add = [&](const char* name, const char* format, auto... values) {
    char value[96];
    std::snprintf(value, sizeof value, format, values...);
    std::snprintf(line, sizeof line, "  %-34s %s\n", name, value);
    out += line;
  };
  static const std::map<std::string, const char*> kNames = {
      {"loss", "cross-entropy"},
      {"accuracy", "state accuracy"},
      {"accuracy_no_silence", "state accuracy without silence"},
      {"phone_accuracy", "phone accuracy"},
      {"phone_accuracy_no_silence", "phone accuracy without silence"}};
  add("frames", "%lld", static_cast<long long>(result.scores.frames));
  for (const auto& [name, value] : result.values) {
    const auto found = kNames.find(name);
    if (found != kNames.end()) add(found->second, "%.4f", value);
  }
  if (!result.texts.empty()) {
    add("texts told apart", "%lld of %zu", static_cast<long long>(result.TextsRight()),
        result.texts.size());
  }
  return out;
}

}  // namespace mariana
