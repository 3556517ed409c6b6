#include "mariana_cnn/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mariana {
namespace {

double Ratio(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(whole, 1));
}

// The loss that a probability stands for; finite however sure the model was.
float NegativeLog(float probability) {
  return -std::log(std::max(probability, std::numeric_limits<float>::min()));
}

// Logits to probabilities, in place.
void Softmax(float* x, int64_t n) {
  const float most = *std::max_element(x, x + n);
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - most);
  for (int64_t i = 0; i < n; ++i) x[i] /= sum;
}

ImageVerdict JudgeClasses(const float* p, int64_t classes, int32_t label) {
  ImageVerdict v;
  v.label = label;
  v.guess = static_cast<int32_t>(std::max_element(p, p + classes) - p);
  v.value = p[v.guess];
  if (label < 0) return v;
  v.label_probability = p[label];
  for (int64_t k = 0; k < classes; ++k)
    v.rank += p[k] > p[label] || (p[k] == p[label] && k < label);
  v.loss = NegativeLog(p[label]);
  return v;
}

ImageVerdict JudgeNumber(float value, float target, LossKind loss) {
  ImageVerdict v;
  v.target = target;
  v.value = value;
  v.loss = loss == LossKind::kLogistic
               ? target * NegativeLog(value) + (1 - target) * NegativeLog(1 - value)
               : 0.5f * (value - target) * (value - target);
  return v;
}

// `rows` images with each line of pixels from right to left.
void Mirror(const uint8_t* from, int64_t rows, const Shape& image, int64_t element_bytes,
            std::vector<uint8_t>* out) {
  const int64_t width = image[1], pixel = image[2] * element_bytes;
  const int64_t line = width * pixel, lines = rows * image[0];
  out->resize(static_cast<size_t>(lines * line));
  uint8_t* to = out->data();
  for (int64_t y = 0; y < lines; ++y, from += line, to += line) {
    for (int64_t x = 0; x < width; ++x) {
      std::copy_n(from + (width - 1 - x) * pixel, pixel, to + x * pixel);
    }
  }
}

// Of what `input` holds, [rows, outputs].
void Evaluate(Net* net, const Tensor& input, std::vector<float>* outputs) {
  StepContext step;
  step.train = false;
  step.rows = step.batch_rows = input.shape()[0];
  net->Forward(step, input);
  outputs->resize(static_cast<size_t>(step.rows * net->output_shape().elements()));
  net->outputs().Rows(0, step.rows).Download(outputs->data());
}

Tensor InputOf(const Net& net) {
  const NetOptions& o = net.options();
  std::vector<int64_t> dims{o.max_rows};
  dims.insert(dims.end(), o.input.dims().begin(), o.input.dims().end());
  return Tensor(o.device, o.compute, Shape(dims));
}

}  // namespace

MetricValues ScoreVerdicts(const std::vector<ImageVerdict>& verdicts, LossKind kind,
                           int64_t outputs) {
  double loss = 0;
  int64_t right = 0, among_five = 0;
  for (const ImageVerdict& v : verdicts) {
    loss += v.loss;
    right += v.label >= 0 ? v.rank == 0 : (v.value > 0.5f) == (v.target > 0.5f);
    among_five += v.rank < 5;
  }
  const auto n = static_cast<int64_t>(verdicts.size());
  MetricValues values{{"loss", loss / static_cast<double>(std::max<int64_t>(n, 1))}};
  if (kind == LossKind::kSquaredError) return values;
  values.emplace_back("accuracy", Ratio(right, n));
  if (kind == LossKind::kSoftmaxCrossEntropy && outputs > 5) {
    values.emplace_back("top5_accuracy", Ratio(among_five, n));
  }
  const double auc = kind == LossKind::kLogistic ? AreaUnderCurve(verdicts) : std::nan("");
  if (std::isfinite(auc)) values.emplace_back("auc", auc);
  return values;
}

std::vector<std::vector<int64_t>> CountConfusion(const std::vector<ImageVerdict>& verdicts,
                                                 int64_t classes) {
  const auto n = static_cast<size_t>(classes);
  std::vector<std::vector<int64_t>> counts(n, std::vector<int64_t>(n, 0));
  for (const ImageVerdict& v : verdicts) {
    ++counts[static_cast<size_t>(v.label)][static_cast<size_t>(v.guess)];
  }
  return counts;
}

double ClassScore::recall() const { return Ratio(right, images); }
double ClassScore::precision() const { return Ratio(right, said); }
double ClassScore::f1() const { return Ratio(2 * right, images + said); }

std::vector<ClassScore> ScoreClasses(const std::vector<ImageVerdict>& verdicts, int64_t classes) {
  std::vector<ClassScore> scores(static_cast<size_t>(classes));
  for (const ImageVerdict& v : verdicts) {
    ClassScore& truth = scores[static_cast<size_t>(v.label)];
    ++truth.images;
    truth.right += v.guess == v.label;
    ++scores[static_cast<size_t>(v.guess)].said;
  }
  return scores;
}

double AreaUnderCurve(const std::vector<ImageVerdict>& verdicts) {
  std::vector<const ImageVerdict*> sorted;
  for (const ImageVerdict& v : verdicts) sorted.push_back(&v);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->value < b->value; });
  double below = 0, negatives = 0, positives = 0;
  for (size_t i = 0; i < sorted.size();) {
    size_t end = i;
    double here[2] = {0, 0};  // of equal values: negatives, positives
    for (; end < sorted.size() && sorted[end]->value == sorted[i]->value; ++end) {
      ++here[sorted[end]->target > 0.5f];
    }
    below += here[1] * (negatives + 0.5 * here[0]);
    negatives += here[0];
    positives += here[1];
    i = end;
  }
  return below / (negatives * positives);  // 0 / 0 is NaN
}

void ForwardImages(Net* net, const ImageBatch& batch, std::vector<float>* out) {
  const Tensor whole = InputOf(*net);
  std::vector<float> part;
  for (int64_t done = 0; done < batch.rows();) {
    const Tensor input = whole.Rows(0, std::min(batch.rows() - done, net->options().max_rows));
    FeedPixels(batch.pixels.data(), done, input);
    Evaluate(net, input, &part);
    out->insert(out->end(), part.begin(), part.end());
    done += input.shape()[0];
  }
}

ImageScorer::ImageScorer(Net* net, LossKind loss, bool flip)
    : net_(net), loss_(loss), flip_(flip), input_(InputOf(*net)) {}

// Adds `weight` times the outputs of what `input` holds.
void ImageScorer::AddOutputs(const Tensor& input, float weight, float* out) {
  Evaluate(net_, input, &part_);
  const int64_t cols = net_->output_shape().elements();
  for (int64_t i = 0; i < input.shape()[0]; ++i) {
    float* row = part_.data() + i * cols;
    if (loss_ == LossKind::kSoftmaxCrossEntropy) Softmax(row, cols);
    for (int64_t k = 0; k < cols; ++k) {
      if (loss_ == LossKind::kLogistic) row[k] = 1 / (1 + std::exp(-row[k]));
      out[i * cols + k] += weight * row[k];
    }
  }
}

const std::vector<float>& ImageScorer::Outputs(const ImageBatch& batch, int64_t begin,
                                               int64_t rows) {
  const int64_t cols = net_->output_shape().elements(), most = net_->options().max_rows;
  outputs_.assign(static_cast<size_t>(rows * cols), 0.0f);
  for (int64_t done = 0; done < rows;) {
    const int64_t part = std::min(rows - done, most);
    const Tensor input = input_.Rows(0, part);
    float* out = outputs_.data() + done * cols;
    FeedPixels(batch.pixels.data(), begin + done, input);
    AddOutputs(input, flip_ ? 0.5f : 1.0f, out);
    if (flip_) {
      Mirror(batch.pixels.data() + (begin + done) * (input.bytes() / part), part,
             net_->options().input, SizeOf(input.dtype()), &mirrored_);
      FeedPixels(mirrored_.data(), 0, input);
      AddOutputs(input, 0.5f, out);
    }
    done += part;
  }
  return outputs_;
}

void ImageScorer::Score(const ImageBatch& batch, int64_t begin, int64_t rows,
                        std::vector<ImageVerdict>* verdicts) {
  const int64_t cols = net_->output_shape().elements();
  const std::vector<float>& outputs = Outputs(batch, begin, rows);
  for (int64_t i = 0; i < rows; ++i) {
    const auto at = static_cast<size_t>(begin + i);
    const float* row = outputs.data() + i * cols;
    ImageVerdict v = loss_ == LossKind::kSoftmaxCrossEntropy
                         ? JudgeClasses(row, cols, batch.label[at])
                         : JudgeNumber(row[0], batch.target[at], loss_);
    v.image = batch.image[at];
    verdicts->push_back(v);
  }
}

}  // namespace mariana
