#include "mariana_cnn/image_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/data/images/pack.h"
#include "common/train/report_picture.h"

namespace mariana {
namespace {

constexpr size_t kPictures = 18;        // of a grid
constexpr int64_t kPictureExtent = 96;  // pixels, the longer side at most
constexpr int64_t kMostConfusion = 40;  // classes of a matrix; of more, the worst pairs are told
constexpr size_t kMostClassRows = 40;

std::string Format(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Images as the net sees them but for normalisation and, where they are large, their extent.
class PictureMaker {
 public:
  PictureMaker(const ImageSource* images, const ModelSpec& model)
      : images_(images),
        input_(Small(model.image)),
        transformer_(input_, Scaled(model), Dtype::kF32) {}

  std::string Uri(int64_t image) {
    const auto n = static_cast<size_t>(input_.height * input_.width * input_.channels);
    std::vector<float> values(n);
    ImageBytes bytes;
    images_->Read(image, &bytes);
    transformer_.Transform(bytes, 0, image, values.data());
    ImageBytes picture;
    picture.channels = static_cast<int>(input_.channels);
    picture.width = static_cast<int>(input_.width);
    picture.height = static_cast<int>(input_.height);
    picture.bytes.resize(n);
    std::transform(values.begin(), values.end(), picture.bytes.begin(), [](float v) {
      return static_cast<uint8_t>(std::lround(255 * std::min(std::max(v, 0.0f), 1.0f)));
    });
    return PngUri(EncodePng(picture));
  }

 private:
  static double Scale(const ImageInputSpec& image) {
    return std::min(1.0, static_cast<double>(kPictureExtent) /
                             static_cast<double>(std::max(image.height, image.width)));
  }
  static ImageInputSpec Small(ImageInputSpec image) {
    const double scale = Scale(image);
    const auto shorten = [scale](int64_t extent) {
      return std::max<int64_t>(1, std::lround(scale * static_cast<double>(extent)));
    };
    image.height = shorten(image.height);
    image.width = shorten(image.width);
    image.mean.clear();
    image.std.clear();
    return image;
  }
  static TransformSpec Scaled(const ModelSpec& model) {
    TransformSpec transform = model.transform;
    const auto side = static_cast<double>(transform.resize);
    transform.resize = std::lround(Scale(model.image) * side);
    return transform;
  }

  const ImageSource* images_;
  ImageInputSpec input_;
  ImageTransformer transformer_;
};

std::string Said(const ImageReportInput& in, const ImageVerdict& v) {
  return in.model->classes.empty() ? Format("%.4g", v.value)
                                   : in.model->classes[static_cast<size_t>(v.guess)];
}

std::string Truth(const ImageReportInput& in, const ImageVerdict& v) {
  if (in.model->classes.empty()) return Format("is %.4g", v.target);
  const std::string probability = Format("%.0f %%", 100 * v.value);
  return v.guess == v.label
             ? probability
             : StrCat(probability, ", is ", in.model->classes[static_cast<size_t>(v.label)]);
}

bool Wrong(const ImageReportInput& in, const ImageVerdict& v) {
  if (!in.model->classes.empty()) return v.guess != v.label;
  return in.loss == LossKind::kLogistic && (v.value > 0.5f) != (v.target > 0.5f);
}

PictureGrid Grid(const ImageReportInput& in, const std::string& title, const std::string& note,
                 const std::vector<ImageVerdict>& verdicts) {
  PictureGrid grid;
  grid.title = title;
  grid.note = note;
  PictureMaker maker(in.valid, *in.model);
  for (const ImageVerdict& v : verdicts) {
    const bool judged = in.loss != LossKind::kSquaredError;
    grid.pictures.push_back({maker.Uri(v.image), Said(in, v), Truth(in, v),
                             !judged        ? ReportPicture::kNone
                             : Wrong(in, v) ? ReportPicture::kBad
                                            : ReportPicture::kGood});
  }
  return grid;
}

void AddPictures(const ImageReportInput& in, Report* report) {
  const std::vector<ImageVerdict>& all = in.held_out->verdicts;
  std::vector<ImageVerdict> samples;
  const size_t n = std::min(kPictures, all.size());
  for (size_t i = 0; i < n; ++i) samples.push_back(all[i * all.size() / n]);
  report->sections.emplace_back(Grid(in, "Held-out images", "what was said of them", samples));
  std::vector<ImageVerdict> worst;
  std::copy_if(all.begin(), all.end(), std::back_inserter(worst), [&](const ImageVerdict& v) {
    return Wrong(in, v) || in.loss == LossKind::kSquaredError;
  });
  const size_t most = std::min(kPictures, worst.size());
  std::partial_sort(worst.begin(), worst.begin() + static_cast<ptrdiff_t>(most), worst.end(),
                    [](const ImageVerdict& a, const ImageVerdict& b) { return a.loss > b.loss; });
  const size_t wrong = worst.size();
  worst.resize(most);
  if (worst.empty()) return;
  report->sections.emplace_back(Grid(
      in, "The worst mistakes",
      StrCat(wrong, " of ", all.size(), " images; those that the model was surest of"), worst));
}

void AddConfusion(const ImageReportInput& in, Report* report) {
  const std::vector<std::string>& classes = in.model->classes;
  const auto n = static_cast<int64_t>(classes.size());
  if (n <= kMostConfusion) {
    ConfusionMatrix matrix;
    matrix.title = "Confusion: rows are the truth, columns what was said";
    matrix.labels = classes;
    for (const auto& row : CountConfusion(in.held_out->verdicts, n)) {
      matrix.counts.emplace_back(row.begin(), row.end());
    }
    report->sections.emplace_back(std::move(matrix));
    return;
  }
  ReportTable table;
  table.title = "Most often confused";
  table.columns = {"class", "taken for", "images"};
  for (const Confusion& c : WorstConfusions(*in.held_out, kPictures)) {
    table.rows.push_back({classes[static_cast<size_t>(c.truth)],
                          classes[static_cast<size_t>(c.said)], StrCat(c.images)});
  }
  report->sections.emplace_back(std::move(table));
}

// All classes, or those that are recognised worst.
void AddClasses(const ImageReportInput& in, Report* report) {
  const std::vector<std::string>& classes = in.model->classes;
  const auto scores = ScoreClasses(in.held_out->verdicts, static_cast<int64_t>(classes.size()));
  std::vector<size_t> order;
  for (size_t k = 0; k < scores.size(); ++k) {
    if (scores[k].images > 0 || scores.size() <= kMostClassRows) order.push_back(k);
  }
  ReportTable table;
  table.title = "Classes";
  if (order.size() > kMostClassRows) {
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return scores[a].recall() < scores[b].recall(); });
    order.resize(kMostClassRows);
    table.title =
        StrCat("The ", kMostClassRows, " classes with the lowest recall, of ", classes.size());
  }
  table.columns = {"class", "images", "recall", "precision", "F1"};
  for (size_t k : order) {
    const ClassScore& s = scores[k];
    table.rows.push_back({classes[k], StrCat(s.images), Format("%.4f", s.recall()),
                          Format("%.4f", s.precision()), Format("%.4f", s.f1())});
  }
  report->sections.emplace_back(std::move(table));
}

void AddFigures(const ImageReportInput& in, Report* report) {
  AddBestFigure(in.facts, "accuracy", "Accuracy", FigureForm::kShare, report);
  AddBestFigure(in.facts, "top5_accuracy", "Top-5 accuracy", FigureForm::kShare, report);
  AddBestFigure(in.facts, "auc", "Area under the ROC curve", FigureForm::kNumber, report);
  AddBestFigure(in.facts, "loss", "Loss", FigureForm::kNumber, report);
  AddSpeedFigure(in.facts, report);
  if (in.bad_images + in.held_out->bad_images > 0) {
    report->figures.push_back(
        {"Broken images", StrCat(in.bad_images + in.held_out->bad_images),
         StrCat(in.held_out->bad_images, " of them held out; log/ names all")});
  }
}

}  // namespace

void WriteImageReport(const ImageReportInput& in) {
  Report report = BeginTrainReport(in.facts);
  AddFigures(in, &report);
  const bool classes = in.loss == LossKind::kSoftmaxCrossEntropy;
  AddCharts(in.facts,
            {{classes ? "Cross-entropy" : "Loss",
              "nats",
              {{"train/loss", "training"}, {"valid/loss", "held out"}}},
             {"Accuracy",
              "share",
              {{"train/accuracy", "training"},
               {"valid/accuracy", "held out"},
               {"valid/top5_accuracy", "held out, top-5"}}},
             {"Area under the ROC curve", "", {{"valid/auc", "held out"}}},
             {"Learning rate", "", {{"train/learning_rate", "learning rate"}}},
             {"Gradient norm", "", {{"train/gradient_norm", "before clipping"}}}},
            &report);
  if (in.valid && !in.held_out->verdicts.empty()) {
    AddPictures(in, &report);
    if (classes) AddConfusion(in, &report);
    if (classes) AddClasses(in, &report);
  }
  AddTime(in.facts, &report);
  AddLayers(in.facts, &report);
  AddTraffic(in.facts, &report);
  AddConfig(in.facts, &report);
  WriteFileAtomic(in.facts.run->report_path(), RenderReport(report));
}

}  // namespace mariana
