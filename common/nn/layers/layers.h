// The makers of all layers: of specs, for the catalogue, and of the operations that blocks share.
// Pure functions.
#pragma once

#include <memory>

#include "common/nn/layer.h"
#include "common/nn/spec.h"

namespace mariana {

std::unique_ptr<LayerSpec> MakeLinearSpec();
std::unique_ptr<LayerSpec> MakeSigmoidSpec();
std::unique_ptr<LayerSpec> MakeTanhSpec();
std::unique_ptr<LayerSpec> MakeReluSpec();
std::unique_ptr<LayerSpec> MakeDropoutSpec();
std::unique_ptr<LayerSpec> MakeBatchNormSpec();
std::unique_ptr<LayerSpec> MakeResidualSpec();
std::unique_ptr<LayerSpec> MakeBranchSpec();

enum class WeightInit { kGlorotUniform, kGlorotNormal, kHeUniform, kHeNormal, kNormal, kUniform };

struct LinearOptions {
  int64_t units = 0;
  Activation activation = Activation::kNone;
  bool bias = true;
  WeightInit init = WeightInit::kGlorotUniform;
  double std = 0.01;  // kNormal
};
std::unique_ptr<Layer> MakeLinearLayer(const LinearOptions& options);
std::unique_ptr<Layer> MakeAddLayer();      // of inputs of one shape
std::unique_ptr<Layer> MakeConcatLayer();   // of inputs of any width, one after the other
std::unique_ptr<Layer> MakeConvertLayer();  // compute type -> fp32

// The `activation:` words: {"none", kNone}, {"sigmoid", kSigmoid}, ...
const std::vector<std::pair<const char*, Activation>>& ActivationNames();

}  // namespace mariana
