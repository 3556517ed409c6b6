// The makers of all layers: of specs, for the catalogue, and of the operations that blocks share.
// Pure functions.
#pragma once

#include <memory>

#include "common/nn/layer.h"
#include "common/nn/layers/init.h"
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
std::unique_ptr<LayerSpec> MakeSequenceSpec();
std::unique_ptr<LayerSpec> MakeConvSpec();
std::unique_ptr<LayerSpec> MakeMaxPoolSpec();
std::unique_ptr<LayerSpec> MakeAvgPoolSpec();
std::unique_ptr<LayerSpec> MakeGlobalPoolSpec();
std::unique_ptr<LayerSpec> MakeLrnSpec();
std::unique_ptr<LayerSpec> MakeLeakyReluSpec();
std::unique_ptr<LayerSpec> MakeGeluSpec();
std::unique_ptr<LayerSpec> MakeFlattenSpec();
std::unique_ptr<LayerSpec> MakeCrossSpec();
std::unique_ptr<LayerSpec> MakeDotsSpec();
std::unique_ptr<LayerSpec> MakeSliceSpec();

struct LinearOptions {
  int64_t units = 0;
  Activation activation = Activation::kNone;
  bool bias = true;
  InitOptions init;
};
std::unique_ptr<Layer> MakeLinearLayer(const LinearOptions& options);
std::unique_ptr<Layer> MakeAddLayer();      // of inputs of one shape
std::unique_ptr<Layer> MakeConcatLayer();   // of columns, or of images' channels
std::unique_ptr<Layer> MakeConvertLayer();  // compute type -> fp32
std::unique_ptr<Layer> MakeActivationLayer(Activation a);

// The `activation:` words: {"none", kNone}, {"sigmoid", kSigmoid}, ...
const std::vector<std::pair<const char*, Activation>>& ActivationNames();

}  // namespace mariana
