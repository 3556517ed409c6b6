// AcousticModel: what a model file says beside its tensors: the net, how features become its
// input, and the class priors. In the safetensors file the description is the metadata entry
// "mariana.model" (YAML); means, scales and priors are tensors of their own. A value type.
#pragma once

#include <string>
#include <vector>

#include "common/nn/net.h"
#include "common/train/checkpoint.h"
#include "common/train/frame_model.h"
#include "mariana_dnn/job.h"

namespace mariana {

struct AcousticModel {
  std::string path;
  NetSpec net;
  FrameModel spec;
  FrameTables tables;
  std::vector<HostTensor> tensors;  // of the net
  Metadata metadata;
};

// Reads a model as LoadModel does; kBadData when it is not one of mariana_dnn's.
std::unique_ptr<AcousticModel> ReadAcousticModel(const std::string& path);

// Samples that inference takes at a time.
constexpr int64_t kInferenceRows = 256;

// A net for inference with the model's values, on `device`.
std::unique_ptr<Net> MakeInferenceNet(const AcousticModel& model, Device* device, int64_t max_rows);

}  // namespace mariana
