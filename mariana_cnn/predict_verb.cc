// predict: what a model says of each image, in the order of the set.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/progress.h"
#include "common/train/signals.h"
#include "mariana_cnn/image_job.h"
#include "mariana_cnn/scores.h"
#include "mariana_cnn/verbs.h"

namespace mariana {
namespace {

// The `top` largest of n, largest first.
std::vector<int32_t> Largest(const float* p, int64_t n, int64_t top) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const auto end = order.begin() + std::min(n, top);
  std::partial_sort(order.begin(), end, order.end(),
                    [p](int32_t a, int32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
  order.erase(end, order.end());
  return order;
}

// One line for an image with these outputs.
class LineMaker {
 public:
  LineMaker(const PredictSpec& spec, const ModelSpec& model) : spec_(spec), model_(model) {}

  std::string Header() const {
    if (spec_.format == PredictionFormat::kJson) return "";
    if (model_.classes.empty()) return "image\tvalue\n";
    std::string line = "image";
    const int64_t top = std::min(spec_.top, model_.num_outputs);
    for (int64_t k = 1; k <= top; ++k) line += StrCat("\tclass", k, "\tprobability", k);
    return line + "\n";
  }

  std::string Line(const std::string& id, const float* outputs) const {
    return spec_.format == PredictionFormat::kJson ? Json(id, outputs) : Tsv(id, outputs);
  }

 private:
  std::string Json(const std::string& id, const float* outputs) const {
    nlohmann::ordered_json line{{"image", id}};
    if (model_.classes.empty()) {
      line["value"] = outputs[0];
    } else {
      for (int32_t k : Largest(outputs, model_.num_outputs, spec_.top)) {
        line["classes"].push_back(
            {{"class", model_.classes[static_cast<size_t>(k)]}, {"probability", outputs[k]}});
      }
    }
    return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }

  std::string Tsv(const std::string& id, const float* outputs) const {
    char number[32];
    std::string line = id;
    if (model_.classes.empty()) {
      std::snprintf(number, sizeof number, "\t%.7g", outputs[0]);
      return line + number + "\n";
    }
    for (int32_t k : Largest(outputs, model_.num_outputs, spec_.top)) {
      std::snprintf(number, sizeof number, "\t%.6f", outputs[k]);
      line += "\t" + model_.classes[static_cast<size_t>(k)] + number;
    }
    return line + "\n";
  }

  const PredictSpec& spec_;
  const ModelSpec& model_;
};

// A file that is there whole or not at all, or stdout.
class LineOutput {
 public:
  explicit LineOutput(const std::string& path) {
    if (!path.empty()) file_.emplace(path);
  }
  void Write(const std::string& text) {
    if (file_) {
      file_->Append(text.data(), static_cast<int64_t>(text.size()));
    } else {
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
  }
  void Finish() {
    if (file_) file_->Finish();
  }

 private:
  std::optional<FileWriter> file_;
};

}  // namespace

int PredictVerb(const CommandLine& cl) {
  const ImageJob job(cl);
  const InferenceJob in = OpenForInference(job, Labels::kIgnored);
  const auto net = MakeInferenceNet(*in.model, in.device.get(), kInferenceRows);
  ImageScorer scorer(net.get(), in.model->net.loss, job.spec.evaluate.flip);
  const LineMaker lines(job.spec.predict, in.model->spec);
  LineOutput output(job.spec.predict.path);
  output.Write(lines.Header());
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("predict", in.set.images->size(), "images");
  ImageStream stream(in.set.images.get(), in.stream);
  int64_t done = 0;
  ImageBatch batch;
  while (!StopRequested() && stream.Next(&batch)) {
    const std::vector<float>& outputs = scorer.Outputs(batch, 0, batch.rows());
    for (int64_t i = 0; i < batch.rows(); ++i) {
      output.Write(lines.Line(in.set.images->id(batch.image[static_cast<size_t>(i)]),
                              outputs.data() + i * in.model->spec.num_outputs));
    }
    progress.Update(done += batch.rows(), {});
  }
  progress.End();
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  output.Finish();
  return 0;
}

}  // namespace mariana
