// Evaluation of a whole model on a set of images, and how its result is shown.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mariana_cnn/image_job.h"
#include "mariana_cnn/scores.h"

namespace mariana {

struct EvaluationResult {
  std::vector<ImageVerdict> verdicts;  // in the order of the set
  MetricValues values;                 // ScoreVerdicts
  int64_t bad_images = 0;              // left out
};

// Scores `job.model` on its images. progress(images done, images in all) is called as it goes;
// returns early, with what it has, when that returns false.
EvaluationResult EvaluateModel(const InferenceJob& job, bool flip,
                               const std::function<bool(int64_t done, int64_t total)>& progress);

// Tables for people: one line a figure; one line a class.
std::string FormatEvaluation(const EvaluationResult& result);
std::string FormatClasses(const EvaluationResult& result, const std::vector<std::string>& classes);

// The classes most often taken for another one, most often first: at most `most` of them.
struct Confusion {
  int32_t truth = 0, said = 0;
  int64_t images = 0;
};
std::vector<Confusion> WorstConfusions(const EvaluationResult& result, size_t most);

}  // namespace mariana
