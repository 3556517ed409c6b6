// AffineLayer: what a linear layer and a convolution share: y = activation(A x + b) by an AffineOp
// of the device, its weights, its bias, and an activation that may be fused into it.
// Threading: as Layer.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "common/nn/layer.h"

namespace mariana {

class AffineLayer : public Layer {
 public:
  AffineLayer(Activation activation, bool bias) : activation_(activation), bias_(bias) {}
  bool has_parameters() const override { return true; }
  bool writes_f32() const override { return true; }

  bool FuseActivation(Activation a) override {
    if (activation_ != Activation::kNone) return false;
    activation_ = a;
    return true;
  }
  Activation ReleaseActivation() override { return std::exchange(activation_, Activation::kNone); }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    op_->Forward(a.x[0], a.w[0], a.w16[0], bias_ ? a.w[1] : nullptr, a.y, step.rows);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    op_->Backward(a.x[0], a.y, a.dy, a.w[0], a.w16[0], a.dx[0], a.dw[0], bias_ ? a.dw[1] : nullptr,
                  step.rows, step.accumulate);
  }

 protected:
  // The part of a LinearSpec or a ConvSpec that both have.
  template <class Spec>
  void FillSpec(const SetupArgs& args, Spec* spec) const {
    spec->max_rows = args.max_rows;
    spec->input = args.in[0]->dtype;
    spec->output = args.out->dtype;
    spec->activation = activation_;
    spec->bias = bias_;
    spec->input_gradient = args.in[0]->gradient;
  }
  // Weights in the device's layout by `op`, in plain layout as PyTorch's.
  static ParamDecl WeightOf(const AffineOp* op, const Shape& shape, const Init& init) {
    ParamDecl weight;
    weight.name = "weight";
    weight.shape = shape;
    weight.init = init;
    weight.elements = op->weight_elements();
    weight.pack = [op](const float* plain, float* packed) { op->PackWeights(plain, packed); };
    weight.unpack = [op](const float* packed, float* plain) { op->UnpackWeights(packed, plain); };
    return weight;
  }
  // `part`: what this layer is of the whole one.
  LayerDecl Declare(ParamDecl weight, const LayerPart& part, double flops) const {
    LayerDecl decl;
    decl.params.push_back(std::move(weight));
    if (bias_) {
      ParamDecl bias;
      bias.name = "bias";
      bias.shape = Shape{part.out.size()};
      bias.part = {Shape{part.whole_out}, 0, part.out.begin};
      bias.decay = false;
      decl.params.push_back(std::move(bias));
    }
    decl.backward_reads_inputs = 1;
    decl.backward_reads_output = activation_ != Activation::kNone;
    decl.flops = flops;
    return decl;
  }

  Activation activation_;
  bool bias_;
  std::unique_ptr<AffineOp> op_;
};

}  // namespace mariana
