// Every layer type that a job can name.
#include "common/nn/layers/layers.h"

namespace mariana {

const std::vector<Variant<LayerSpec>>& LayerCatalog() {
  static const std::vector<Variant<LayerSpec>> catalog = {
      // clang-format off
      {"linear", "Fully connected: activation(x W^T + b).", MakeLinearSpec},
      {"conv", "Convolution of an image: activation(W * x + b).", MakeConvSpec},
      {"max_pool", "The largest value of each window.", MakeMaxPoolSpec},
      {"avg_pool", "The mean of each window.", MakeAvgPoolSpec},
      {"global_pool", "The mean of each channel: an image becomes columns.", MakeGlobalPoolSpec},
      {"lrn", "Local response normalisation across channels.", MakeLrnSpec},
      {"flatten", "Builds nothing: linear reads an image in PyTorch's order (channel, height, "
                  "width) by itself.", MakeFlattenSpec},
      {"sigmoid", "1 / (1 + exp(-x)), on its own.", MakeSigmoidSpec},
      {"tanh", "Hyperbolic tangent, on its own.", MakeTanhSpec},
      {"relu", "max(x, 0), on its own.", MakeReluSpec},
      {"leaky_relu", "x, or slope * x below 0.", MakeLeakyReluSpec},
      {"gelu", "x times the normal distribution function of x.", MakeGeluSpec},
      {"dropout", "Sets values to zero at random in training.", MakeDropoutSpec},
      {"batch_norm", "Normalises each column or channel over a group of samples.", MakeBatchNormSpec},
      {"cross", "Products of the input's columns: x0 * (W x + b) + x, several times (DCN-v2).",
       MakeCrossSpec},
      {"dots", "Dot products of all pairs of vectors in the input's columns (DLRM).", MakeDotsSpec},
      {"slice", "Some of the input's columns.", MakeSliceSpec},
      {"sequence", "A list of layers under one name.", MakeSequenceSpec},
      {"residual", "Adds the block's input to what its layers make of it.", MakeResidualSpec},
      {"branch", "Several lists of layers side by side, joined.", MakeBranchSpec},
      // clang-format on
  };
  return catalog;
}

void NetSpec::Describe(Fields* f) {
  f->Variants("layers", &layers, LayerCatalog(), "One after the other.",
              needed ? Rule().Required().Min(1) : Rule());
  f->Choice("loss", &loss,
            {{"softmax_cross_entropy", LossKind::kSoftmaxCrossEntropy},
             {"squared_error", LossKind::kSquaredError},
             {"logistic", LossKind::kLogistic}},
            "Mean over samples of: cross-entropy of the softmax of the outputs; half the squared "
            "distance to the targets; binary cross-entropy of each output's sigmoid.");
  f->Real("label_smoothing", &label_smoothing,
          "softmax_cross_entropy: share of a target that goes to all classes alike; in training "
          "only.",
          Rule().Min(0).Below(1));
  f->Require(label_smoothing == 0 || loss == LossKind::kSoftmaxCrossEntropy, "label_smoothing",
             "needs loss: softmax_cross_entropy");
  f->Int("group", &group,
         "Batch normalisation: samples in a group that is normalised together, whatever the number "
         "of workers; 0: 128 where the net has any.",
         Rule().Min(0));
}

}  // namespace mariana
