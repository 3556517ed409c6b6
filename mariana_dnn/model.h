// AcousticModel: what a model file says beside its tensors: the net, how features become its
// input, and the class priors. In the safetensors file the description is the metadata entry
// "mariana.model" (YAML); means, scales and priors are tensors of their own. A value type.
#pragma once

#include <string>
#include <vector>

#include "common/nn/net.h"
#include "common/train/checkpoint.h"
#include "mariana_dnn/job.h"

namespace mariana {

// Described: the YAML of "mariana.model".
struct ModelSpec {
  int64_t feature_dim = 0;  // columns of one frame
  int64_t num_labels = 0;
  FeatureSpec features;
  ContextSpec context;
  NetSpec* net = nullptr;  // the job's while training, AcousticModel's own when read
  void Describe(Fields* f);
  Shape input() const { return {(context.left + 1 + context.right) * feature_dim}; }
};

// Tensors that are not the net's.
struct ModelTables {
  std::vector<float> mean, scale;  // [feature_dim] each; empty unless normalised globally
  std::vector<float> prior;        // [num_labels], sums to 1
};

Metadata DescribeModel(ModelSpec* spec);
std::vector<HostTensor> TablesToTensors(const ModelTables& tables);

struct AcousticModel {
  std::string path;
  NetSpec net;
  ModelSpec spec;
  ModelTables tables;
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
