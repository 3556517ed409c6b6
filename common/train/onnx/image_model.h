// An image net as an ONNX file that takes pixels: normalisation, and on request the softmax, are
// inside. Free functions; the net is used by one thread at a time.
#pragma once

#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/nn/net.h"

namespace mariana {

enum class PixelLayout { kNchw, kNhwc };

// `export:` of an image job: what the file takes and gives.
struct OnnxImageSpec {
  PixelLayout layout = PixelLayout::kNchw;
  Dtype pixels = Dtype::kF32;  // or kU8
  bool probabilities = false;
  void Describe(Fields* f);
};

// What the net was trained on.
struct ImageModelInfo {
  std::string program, version;
  std::vector<double> mean, std;  // by channel, of values in [0, 1]; empty: 0 and 1
  LossKind loss = LossKind::kSoftmaxCrossEntropy;
  std::vector<std::string> classes;
  std::string preprocessing;  // how an image becomes height x width pixels, for people
};

// Input "input": [batch, channels, height, width] or [batch, height, width, channels], values 0 to
// 255 (RGB where there are three channels). Output "logits" or "probabilities", [batch, outputs].
// The net's input is an image; the present values are written. metadata: classes (a JSON list),
// preprocessing, input.
void ExportImageModel(Net* net, const OnnxImageSpec& spec, const ImageModelInfo& info,
                      const std::string& path);

}  // namespace mariana
