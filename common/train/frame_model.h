// FrameModel: what a model file of labelled frames says beside its tensors: how features become the
// net's input, and the net. In the safetensors file it is the metadata entry "mariana.model"
// (YAML); means, scales and priors are tensors of their own. Value types.
#pragma once

#include <vector>

#include "common/nn/spec.h"
#include "common/train/frame_data.h"
#include "common/train/safetensors.h"

namespace mariana {

// Described: the YAML of "mariana.model".
struct FrameModel {
  static constexpr char kKey[] = "mariana.model";
  int64_t feature_dim = 0;  // columns of one frame
  int64_t num_labels = 0;
  FeatureSpec features;
  ContextSpec context;
  NetSpec* net = nullptr;  // the job's while training
  void Describe(Fields* f);
  Shape input() const { return {(context.left + 1 + context.right) * feature_dim}; }
};

// Tensors that are not the net's.
struct FrameTables {
  static constexpr char kMean[] = "input.mean", kScale[] = "input.scale", kPrior[] = "output.prior";
  std::vector<float> mean, scale;  // [feature_dim] each; empty unless normalised globally
  std::vector<float> prior;        // [num_labels], sums to 1
};

// What is measured on the training data; also sets its normalisation. `threads` read it.
FrameTables MeasureFrames(SpeechCorpus* train, const FeatureSpec& features, int64_t num_labels,
                          int threads);

// Metadata of a file that `program` writes.
Metadata DescribeModel(const char* program, FrameModel* spec);
std::vector<HostTensor> TablesToTensors(const FrameTables& tables);

}  // namespace mariana
