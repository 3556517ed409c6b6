#include "common/device/emulated/emulated_ops.h"

#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

const PrecisionSpec* PrecisionOf(const DeviceSpec& device, Dtype compute) {
  if (compute != Dtype::kBF16) return &device.fp32;
  if (device.bf16.tflops == 0) {
    throw Fail(ExitCode::kUsage, "train.precision: ", device.name, " has no bf16 arithmetic");
  }
  return &device.bf16;
}

// What a linear layer and a convolution have in common, for one sample.
struct AffineShape {
  std::string name;
  int64_t in = 0, out = 0, weights = 0;  // elements
  double flops = 0;                      // of the forward pass
  Dtype input = Dtype::kF32, output = Dtype::kF32;
  Activation activation = Activation::kNone;
};

// A pass is one kernel with bias and activation in it; backward, a pass over dy for activation and
// bias, then the product for weights, then that for the input.
class EmulatedAffine : public AffineOp {
 public:
  EmulatedAffine(AffineShape shape, const PrecisionSpec* precision,
                 EfficiencySpec PrecisionSpec::*curve, Streams* streams)
      : shape_(std::move(shape)), precision_(precision), curve_(curve), streams_(streams) {}

  int64_t weight_elements() const override { return shape_.weights; }
  void PackWeights(const float* plain, float* packed) const override { Same(plain, packed); }
  void UnpackWeights(const float* packed, float* plain) const override { Same(packed, plain); }

  void Forward(const void*, const float*, const uint16_t*, const float*, void*,
               int64_t rows) override {
    Product(shape_.name, rows);
  }
  void Backward(const void*, const void*, void*, const float*, const uint16_t*, void* dx, float*,
                float* db, int64_t rows, bool) override {
    if (shape_.activation != Activation::kNone || db != nullptr) {
      const int passes = shape_.activation != Activation::kNone ? 3 : 1;
      streams_->Run(shape_.name + " activation", {0, passes * rows * shape_.out * OutBytes()});
    }
    Product(shape_.name + " weights", rows);
    if (dx != nullptr) Product(shape_.name + " input", rows);
  }

 private:
  int64_t OutBytes() const { return SizeOf(shape_.output); }
  void Same(const float* from, float* to) const {
    std::memcpy(to, from, static_cast<size_t>(shape_.weights) * sizeof(float));
  }
  // Each of the three products touches inputs, outputs and weights once.
  void Product(const std::string& name, int64_t rows) {
    Streams::Kernel kernel;
    kernel.flops = shape_.flops * static_cast<double>(rows);
    kernel.bytes = rows * (shape_.in * SizeOf(shape_.input) + shape_.out * OutBytes()) +
                   shape_.weights * SizeOf(shape_.input);
    kernel.precision = precision_;
    kernel.curve = curve_;
    streams_->Run(name, kernel);
  }

  const AffineShape shape_;
  const PrecisionSpec* const precision_;
  EfficiencySpec PrecisionSpec::*const curve_;
  Streams* const streams_;
};

class EmulatedPool : public PoolOp {
 public:
  EmulatedPool(const PoolSpec& spec, Streams* streams) : spec_(spec), streams_(streams) {}
  int64_t saved_bytes() const override {  // which of the window was the largest: a byte each
    return spec_.kind == PoolKind::kMax ? spec_.max_rows * spec_.out.elements() : 0;
  }
  void Forward(const void*, void*, void*, int64_t rows) override { Run("pool", rows); }
  void Backward(const void*, const void*, void*, int64_t rows) override {
    Run("pool backward", rows);
  }

 private:
  void Run(const char* what, int64_t rows) {
    const int64_t elements = spec_.in.elements() + spec_.out.elements();
    const int64_t saved = spec_.kind == PoolKind::kMax ? spec_.out.elements() : 0;
    streams_->Run(what, {0, rows * (elements * SizeOf(spec_.dtype) + saved)});
  }
  const PoolSpec spec_;
  Streams* const streams_;
};

}  // namespace

std::unique_ptr<AffineOp> MakeEmulatedLinear(const LinearSpec& spec, const DeviceSpec& device,
                                             Streams* streams) {
  AffineShape shape;
  shape.name = StrCat("linear ", spec.in, "x", spec.out);
  shape.in = spec.in;
  shape.out = spec.out;
  shape.weights = spec.in * spec.out;
  shape.flops = 2.0 * static_cast<double>(spec.in) * static_cast<double>(spec.out);
  shape.input = spec.input;
  shape.output = spec.output;
  shape.activation = spec.activation;
  return std::make_unique<EmulatedAffine>(std::move(shape), PrecisionOf(device, spec.input),
                                          &PrecisionSpec::linear, streams);
}

std::unique_ptr<AffineOp> MakeEmulatedConvolution(const ConvSpec& spec, const DeviceSpec& device,
                                                  Streams* streams) {
  const int64_t taps =
      spec.window.kernel_h * spec.window.kernel_w * (spec.in.channels / spec.groups);
  AffineShape shape;
  shape.name =
      StrCat("conv ", spec.window.kernel_h, "x", spec.window.kernel_w, " ", spec.in.channels, "-",
             spec.out.channels, " ", spec.out.height, "x", spec.out.width);
  shape.in = spec.in.elements();
  shape.out = spec.out.elements();
  shape.weights = taps * spec.out.channels;
  shape.flops = 2.0 * static_cast<double>(taps) * static_cast<double>(spec.out.elements());
  shape.input = spec.input;
  shape.output = spec.output;
  shape.activation = spec.activation;
  return std::make_unique<EmulatedAffine>(std::move(shape), PrecisionOf(device, spec.input),
                                          &PrecisionSpec::convolution, streams);
}

std::unique_ptr<PoolOp> MakeEmulatedPool(const PoolSpec& spec, Streams* streams) {
  return std::make_unique<EmulatedPool>(spec, streams);
}

}  // namespace mariana
