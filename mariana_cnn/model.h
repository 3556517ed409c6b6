// ImageModel: what a model file says beside its tensors: the net, its input, and the classes. In
// the safetensors file the description is the metadata entry "mariana.model" (YAML). A value type.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/nn/net.h"
#include "common/train/checkpoint.h"
#include "mariana_cnn/job.h"

namespace mariana {

// Described: the YAML of "mariana.model".
struct ModelSpec {
  ImageInputSpec image;
  TransformSpec transform;  // of evaluation
  int64_t num_outputs = 0;
  std::vector<std::string> classes;  // empty for a model of numbers
  NetSpec* net = nullptr;            // the job's while training, ImageModel's own when read
  void Describe(Fields* f);
  Shape input() const { return {image.height, image.width, image.channels}; }
};

Metadata DescribeModel(ModelSpec* spec);

struct ImageModel {
  std::string path;
  NetSpec net;
  ModelSpec spec;
  std::vector<HostTensor> tensors;
  Metadata metadata;
};

// Reads a model as LoadModel does; kBadData when it is not one of mariana_cnn's.
std::unique_ptr<ImageModel> ReadImageModel(const std::string& path);

// Samples that inference takes at a time.
constexpr int64_t kInferenceRows = 64;

// A net for inference with the model's values, on `device`; up to layer or block `until`, if given.
std::unique_ptr<Net> MakeInferenceNet(const ImageModel& model, Device* device, int64_t max_rows,
                                      const std::string& until = "");

}  // namespace mariana
