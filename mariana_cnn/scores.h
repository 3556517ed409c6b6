// What a model says of images, one verdict an image, and the scores that follow from verdicts:
// loss, top-1 and top-5 accuracy, confusion between classes, area under the ROC curve.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/nn/net.h"
#include "mariana_cnn/image_feed.h"

namespace mariana {

// Of one image. Where outputs are classes, `value` is the probability of `guess`.
struct ImageVerdict {
  int64_t image = 0;  // record in its source
  int32_t label = -1, guess = -1;
  int32_t rank = 0;  // classes that were likelier than the label
  float target = 0;  // of a model of numbers ...
  float value = 0;   // ... which says this
  float label_probability = 0;
  float loss = 0;
};

using MetricValues = std::vector<std::pair<std::string, double>>;

// "loss", and "accuracy" and (of more than five classes) "top5_accuracy", or, under the logistic
// loss, "accuracy" (of target and value rounded) and "auc". Verdicts in any order.
MetricValues ScoreVerdicts(const std::vector<ImageVerdict>& verdicts, LossKind loss,
                           int64_t outputs);

// [truth][said], counts.
std::vector<std::vector<int64_t>> CountConfusion(const std::vector<ImageVerdict>& verdicts,
                                                 int64_t classes);

struct ClassScore {
  int64_t images = 0;  // of the class
  int64_t said = 0;    // taken for it
  int64_t right = 0;
  double recall() const;
  double precision() const;
  double f1() const;
};
std::vector<ClassScore> ScoreClasses(const std::vector<ImageVerdict>& verdicts, int64_t classes);

// Probability that a positive example gets a larger value than a negative one, ties half; NaN
// without both. Targets above a half are positive.
double AreaUnderCurve(const std::vector<ImageVerdict>& verdicts);

// Appends what `net` computes of a batch, [rows, outputs], as it is.
void ForwardImages(Net* net, const ImageBatch& batch, std::vector<float>* out);

// Scores images with one net. Used by one thread at a time.
class ImageScorer {
 public:
  // `flip`: outputs are the mean over each image and its mirror image.
  ImageScorer(Net* net, LossKind loss, bool flip = false);

  // Outputs [rows, outputs] of images [begin, begin + rows) of the batch: probabilities of classes,
  // or numbers (under the logistic loss probabilities).
  const std::vector<float>& Outputs(const ImageBatch& batch, int64_t begin, int64_t rows);
  // Appends their verdicts.
  void Score(const ImageBatch& batch, int64_t begin, int64_t rows,
             std::vector<ImageVerdict>* verdicts);

 private:
  void AddOutputs(const Tensor& input, float weight, float* out);

  Net* net_;
  LossKind loss_;
  bool flip_;
  Tensor input_;
  std::vector<float> outputs_, part_;
  std::vector<uint8_t> mirrored_;
};

}  // namespace mariana
