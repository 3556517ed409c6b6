#include "common/train/onnx/image_model.h"

#include <glog/logging.h>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/train/onnx/onnx_graph.h"

namespace mariana {
namespace {

// (x / 255 - mean) / std as x * scale + shift.
std::string Normalise(const ImageModelInfo& info, int64_t channels, const std::string& x,
                      OnnxGraph* graph) {
  std::vector<float> scale, shift;
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    const double mean = info.mean.empty() ? 0 : info.mean[c];
    const double std = info.std.empty() ? 1 : info.std[c];
    scale.push_back(static_cast<float>(1 / (255 * std)));
    shift.push_back(static_cast<float>(-mean / std));
  }
  const Shape by_channel{1, channels, 1, 1};
  const std::string scaled =
      graph->Node("Mul", "input.scaled", {x, graph->Floats("input.scale", by_channel, scale)});
  return graph->Node("Add", "input.normalised",
                     {scaled, graph->Floats("input.shift", by_channel, shift)});
}

std::string InputText(const OnnxImageSpec& spec, int64_t channels) {
  return StrCat(spec.layout == PixelLayout::kNchw ? "NCHW" : "NHWC", ", ", Name(spec.pixels), ", ",
                channels == 3 ? "RGB" : "grey", ", values 0 to 255");
}

}  // namespace

void OnnxImageSpec::Describe(Fields* f) {
  f->Choice("layout", &layout, {{"nchw", PixelLayout::kNchw}, {"nhwc", PixelLayout::kNhwc}},
            "Order of the input's dimensions.");
  f->Choice("pixels", &pixels, {{"float", Dtype::kF32}, {"uint8", Dtype::kU8}},
            "Type of the input's values, 0 to 255 in either; normalisation is inside.");
  f->Bool("probabilities", &probabilities,
          "Give probabilities (softmax or sigmoid, as the loss has it) in place of logits.");
}

void ExportImageModel(Net* net, const OnnxImageSpec& spec, const ImageModelInfo& info,
                      const std::string& path) {
  const Shape& image = net->options().input;
  CHECK_EQ(image.rank(), 3);
  const int64_t height = image[0], width = image[1], channels = image[2];
  const bool planes = spec.layout == PixelLayout::kNchw;
  const OnnxValue input{"input", spec.pixels, "batch",
                        planes ? Shape{channels, height, width} : image};
  const bool squash = spec.probabilities && info.loss != LossKind::kSquaredError;
  const OnnxValue output{squash ? "probabilities" : "logits", Dtype::kF32, "batch",
                         Shape{net->output_shape().elements()}};
  OnnxGraph graph(input, output);
  std::string x = input.name;
  if (spec.pixels == Dtype::kU8) {
    x = graph.Node("Cast", "input.float", {x}, {{"to", int64_t{1}}});
  }
  if (!planes) {
    x = graph.Node("Transpose", "input.nchw", {x}, {{"perm", OpAttribute::Ints{0, 3, 1, 2}}});
  }
  std::string y = net->Export(Normalise(info, channels, x, &graph), &graph);
  y = ExportFlat(net->output_shape(), "output.flat", y, &graph);
  if (squash && info.loss == LossKind::kLogistic) {
    y = graph.Node("Sigmoid", "output.sigmoid", {y});
  } else if (squash) {
    y = graph.Node("Softmax", "output.softmax", {y}, {{"axis", int64_t{1}}});
  }
  graph.Finish(y);

  OnnxDescription description;
  description.producer = info.program;
  description.version = info.version;
  description.text =
      StrCat("Image net. Input: ", InputText(spec, channels), ". ", info.preprocessing);
  description.metadata["input"] = InputText(spec, channels);
  description.metadata["preprocessing"] = info.preprocessing;
  if (!info.classes.empty()) {
    description.metadata["classes"] =
        nlohmann::json(info.classes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  graph.Write(description, path);
}

}  // namespace mariana
