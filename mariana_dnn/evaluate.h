// Evaluation of a whole model on a set of utterances: frame scores, and which text of a closed
// list was said.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mariana_dnn/scores.h"
#include "mariana_dnn/speech_job.h"

namespace mariana {

struct RecognisedText {
  std::string utterance, said, heard;
  double margin = 0;  // log-likelihood a frame by which the best text beats the second
  bool correct() const { return said == heard; }
};

struct EvaluationResult {
  FrameScores scores;
  std::vector<std::pair<std::string, double>> values;  // FrameScores::Values, text_accuracy
  std::vector<RecognisedText> texts;                   // empty without a lexicon and texts
  int64_t TextsRight() const;
};

// Scores `model` on `set`. progress(frames done, frames in all) is called as it goes; returns
// early, with what it has, when it returns false.
EvaluationResult EvaluateModel(const SpeechJob& job, const AcousticModel& model, Device* device,
                               DataSet set,
                               const std::function<bool(int64_t done, int64_t total)>& progress);

// Log class priors, floored so that a class never seen stays finite.
std::vector<float> LogPrior(const std::vector<float>& prior);

// A table for people: one line a figure.
std::string FormatEvaluation(const EvaluationResult& result);

}  // namespace mariana
