#include "mariana_cnn/scores.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "common/config/config.h"

namespace mariana {
namespace {

ImageVerdict Of(int32_t label, int32_t guess, int32_t rank, float loss) {
  ImageVerdict v;
  v.label = label;
  v.guess = guess;
  v.rank = rank;
  v.loss = loss;
  return v;
}

ImageVerdict Number(float target, float value) {
  ImageVerdict v;
  v.target = target;
  v.value = value;
  return v;
}

double Find(const MetricValues& values, const std::string& name) {
  for (const auto& [key, value] : values) {
    if (key == name) return value;
  }
  return std::nan("");
}

// A net that gives its input's columns as they are: [2, 3, 1] pixels in, 6 outputs.
struct PassThrough {
  PassThrough() : device(MakeCpuDevice(0, 1, -1)) {
    LoadConfigText("layers: [{type: linear, units: 6, bias: false}]", "net", ".", {},
                   [this](Fields* f) { spec.Describe(f); });
    NetOptions o;
    o.device = device.get();
    o.max_rows = 2;
    o.input = {2, 3, 1};
    o.train = false;
    net = Net::Build(spec, o);
    std::vector<float> one(36, 0.0f), slot(static_cast<size_t>(net->params()[0].elements));
    for (size_t i = 0; i < 6; ++i) one[7 * i] = 1;
    net->PackParam(0, one.data(), slot.data());
    device->Upload(net->values(), slot.data(), static_cast<int64_t>(slot.size() * sizeof(float)));
  }
  std::unique_ptr<Device> device;
  NetSpec spec;
  std::unique_ptr<Net> net;
};

ImageBatch Batch(const std::vector<float>& pixels, const std::vector<int32_t>& labels) {
  ImageBatch batch;
  batch.pixels.resize(pixels.size() * sizeof(float));
  std::copy_n(reinterpret_cast<const uint8_t*>(pixels.data()), batch.pixels.size(),
              batch.pixels.data());
  batch.label = labels;
  for (size_t i = 0; i < labels.size(); ++i) {
    batch.image.push_back(static_cast<int64_t>(10 + i));
    batch.target.push_back(static_cast<float>(labels[i]));
  }
  return batch;
}

}  // namespace

TEST_CASE("Scores of classes are means over the images") {
  const std::vector<ImageVerdict> verdicts = {Of(0, 0, 0, 0.1f), Of(1, 0, 4, 2), Of(2, 1, 5, 3),
                                              Of(2, 2, 0, 0.3f)};
  const MetricValues values = ScoreVerdicts(verdicts, LossKind::kSoftmaxCrossEntropy, 10);
  CHECK(Find(values, "loss") == Approx(1.35));
  CHECK(Find(values, "accuracy") == 0.5);
  CHECK(Find(values, "top5_accuracy") == 0.75);
  CHECK(std::isnan(Find(values, "auc")));
  // Of five classes, all are among five.
  CHECK(std::isnan(
      Find(ScoreVerdicts(verdicts, LossKind::kSoftmaxCrossEntropy, 5), "top5_accuracy")));
}

TEST_CASE("Scores of classes tell recall, precision and who was taken for whom") {
  const std::vector<ImageVerdict> verdicts = {Of(0, 0, 0, 0), Of(0, 1, 1, 0), Of(1, 1, 0, 0),
                                              Of(2, 1, 1, 0)};
  const auto classes = ScoreClasses(verdicts, 4);
  CHECK(classes[0].recall() == 0.5);
  CHECK(classes[0].precision() == 1);
  CHECK(classes[1].recall() == 1);
  CHECK(classes[1].precision() == Approx(1.0 / 3));
  CHECK(classes[1].f1() == 0.5);
  CHECK(classes[3].images == 0);
  CHECK(classes[3].recall() == 0);
  const auto confusion = CountConfusion(verdicts, 4);
  CHECK(confusion[0] == std::vector<int64_t>{1, 1, 0, 0});
  CHECK(confusion[2] == std::vector<int64_t>{0, 1, 0, 0});
}

TEST_CASE("The area under the curve counts pairs in the right order, ties half") {
  CHECK(AreaUnderCurve({Number(0, 0.1f), Number(1, 0.2f)}) == 1);
  CHECK(AreaUnderCurve({Number(1, 0.1f), Number(0, 0.2f)}) == 0);
  CHECK(AreaUnderCurve({Number(1, 0.5f), Number(0, 0.5f), Number(0, 0.1f)}) == 0.75);
  CHECK(std::isnan(AreaUnderCurve({Number(1, 0.5f)})));
  const MetricValues values =
      ScoreVerdicts({Number(1, 0.9f), Number(0, 0.6f)}, LossKind::kLogistic, 1);
  CHECK(Find(values, "accuracy") == 0.5);
  CHECK(Find(values, "auc") == 1);
  CHECK(ScoreVerdicts({Number(1, 0.9f)}, LossKind::kSquaredError, 1).size() == 1);
}

TEST_CASE("A verdict holds the likeliest class, the label's rank and the loss") {
  PassThrough rig;
  ImageScorer scorer(rig.net.get(), LossKind::kSoftmaxCrossEntropy);
  std::vector<ImageVerdict> verdicts;
  // More images than the net takes at a time.
  scorer.Score(Batch({0, 1, 2, 3, 4, 5, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0}, {3, 0, 5}), 0, 3,
               &verdicts);
  REQUIRE(verdicts.size() == 3);
  CHECK(verdicts[0].image == 10);
  CHECK(verdicts[0].guess == 5);
  CHECK(verdicts[0].rank == 2);
  const double sum = 1 + std::exp(1) + std::exp(2) + std::exp(3) + std::exp(4) + std::exp(5);
  CHECK(verdicts[0].label_probability == Approx(std::exp(3) / sum));
  CHECK(verdicts[0].value == Approx(std::exp(5) / sum));
  CHECK(verdicts[0].loss == Approx(std::log(sum) - 3));
  CHECK(verdicts[1].rank == 0);
  CHECK(verdicts[2].guess == 2);
  CHECK(verdicts[2].rank == 5);  // of equals the first is the likelier
}

TEST_CASE("Flipping averages over an image and its mirror image") {
  PassThrough rig;
  ImageScorer plain(rig.net.get(), LossKind::kSquaredError);
  ImageScorer flipped(rig.net.get(), LossKind::kSquaredError, true);
  const ImageBatch batch = Batch({1, 2, 3, 4, 5, 6, 0, 0, 8, 0, 4, 0}, {0, 0});
  CHECK(plain.Outputs(batch, 1, 1) == std::vector<float>{0, 0, 8, 0, 4, 0});
  CHECK(flipped.Outputs(batch, 0, 2) == std::vector<float>{2, 2, 2, 5, 5, 5, 4, 0, 4, 0, 4, 0});
}

TEST_CASE("A model of numbers says a probability under the logistic loss") {
  PassThrough rig;
  ImageScorer scorer(rig.net.get(), LossKind::kLogistic);
  std::vector<ImageVerdict> verdicts;
  scorer.Score(Batch({2, 0, 0, 0, 0, 0}, {1}), 0, 1, &verdicts);
  CHECK(verdicts[0].value == Approx(1 / (1 + std::exp(-2.0))));
  CHECK(verdicts[0].loss == Approx(std::log(1 + std::exp(-2.0))));
}

}  // namespace mariana
