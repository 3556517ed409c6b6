// Fully connected layers over cuBLASLt. Weights are in the plain layout, [out, in].
//
// Forward: y^T [out, rows] = W x^T with bias (and ReLU) in the product's epilogue; sigmoid and tanh
// take a pass of their own, bias included. Backward: the slope and the bias gradient in one pass,
// or, where there is no activation, the bias gradient in the epilogue of the weights' product.
#include <algorithm>

#include "common/device/cuda/kernels.h"
#include "common/device/cuda/operations.h"
#include "common/device/cuda/product.h"

namespace mariana::cuda {
namespace {

class Linear : public AffineOp {
 public:
  Linear(const LinearSpec& spec, Context* context)
      : spec_(spec),
        context_(context),
        forward_(ForwardProduct(spec), context),
        weights_(WeightProduct(spec, CUBLASLT_EPILOGUE_DEFAULT), context),
        input_(InputProduct(spec), context) {
    if (spec.bias && spec.activation == Activation::kNone) {
      auto product =
          std::make_unique<Product>(WeightProduct(spec, CUBLASLT_EPILOGUE_BGRADB), context);
      if (product->Possible(spec.max_rows)) weights_and_bias_ = std::move(product);
    }
    if (spec.bias && InEpilogue(spec) && spec.output == Dtype::kBF16) {
      Check(cudaMalloc(&bias16_, static_cast<size_t>(spec.out) * 2), "cudaMalloc of a bf16 bias");
    }
    for (Product* product : {&forward_, &weights_, &input_}) {
      if (product->Possible(spec.max_rows)) continue;
      throw Fail(ExitCode::kUsage, context->where(), ": cuBLASLt has no product for a layer of ",
                 spec.in, " inputs and ", spec.out, " outputs, ", Name(spec.input), " to ",
                 Name(spec.output));
    }
  }
  ~Linear() override { cudaFree(bias16_); }

  int64_t weight_elements() const override { return spec_.out * spec_.in; }
  void PackWeights(const float* plain, float* packed) const override {
    std::copy_n(plain, weight_elements(), packed);
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    std::copy_n(packed, weight_elements(), plain);
  }

  void Forward(const void* x, const float* w, const uint16_t* w16, const float* b, void* y,
               int64_t rows) override {
    if (rows == 0) return;
    context_->Use();
    const bool in_epilogue = InEpilogue(spec_);
    const void* bias = in_epilogue ? b : nullptr;
    if (bias != nullptr && bias16_ != nullptr) {
      Convert(context_, b, Dtype::kF32, bias16_, Dtype::kBF16, spec_.out);
      bias = bias16_;
    }
    forward_.Run(Weights(w, w16), x, y, bias, rows, false);
    if (!in_epilogue) {
      BiasActivate(context_, spec_.activation, b, y, rows, spec_.out, spec_.output);
    }
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t* w16,
                void* dx, float* dw, float* db, int64_t rows, bool accumulate) override {
    if (rows == 0) return;
    context_->Use();
    const bool fused = weights_and_bias_ != nullptr && db != nullptr && !accumulate;
    if (!fused) {
      SlopeAndSums(context_, spec_.activation, y, dy, rows, spec_.out, db, accumulate,
                   spec_.output);
    }
    const void* dz = Narrowed(dy, rows);
    if (fused) {
      weights_and_bias_->Run(x, dz, dw, db, rows, false);
    } else {
      weights_.Run(x, dz, dw, nullptr, rows, accumulate);
    }
    if (dx != nullptr) input_.Run(Weights(w, w16), dz, dx, nullptr, rows, false);
  }

 private:
  static bool InEpilogue(const LinearSpec& s) {
    return s.activation == Activation::kNone || s.activation == Activation::kRelu;
  }
  static Product::Spec ForwardProduct(const LinearSpec& s) {
    Product::Spec p;
    p.name = "linear";
    p.m = s.out;
    p.k = s.in;
    p.rows = Product::Rows::kN;
    p.transpose_a = true;
    p.in = s.input;
    p.out = s.output;
    if (InEpilogue(s)) {
      const bool relu = s.activation == Activation::kRelu;
      p.epilogue = s.bias && relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                   : s.bias       ? CUBLASLT_EPILOGUE_BIAS
                   : relu         ? CUBLASLT_EPILOGUE_RELU
                                  : CUBLASLT_EPILOGUE_DEFAULT;
    }
    p.bias = s.output == Dtype::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
    return p;
  }
  // dw^T [in, out] = x^T dz, rows between them.
  static Product::Spec WeightProduct(const LinearSpec& s, cublasLtEpilogue_t epilogue) {
    Product::Spec p;
    p.name = "linear weight gradient";
    p.m = s.in;
    p.n = s.out;
    p.rows = Product::Rows::kK;
    p.transpose_b = true;
    p.in = s.input;
    p.epilogue = epilogue;
    return p;
  }
  // dx^T [in, rows] = W^T dz^T.
  static Product::Spec InputProduct(const LinearSpec& s) {
    Product::Spec p;
    p.name = "linear input gradient";
    p.m = s.in;
    p.k = s.out;
    p.rows = Product::Rows::kN;
    p.in = p.out = s.input;
    return p;
  }
  const void* Weights(const float* w, const uint16_t* w16) const {
    return spec_.input == Dtype::kBF16 ? static_cast<const void*>(w16) : w;
  }
  // The gradient behind the activation, in the type that products take.
  const void* Narrowed(const void* dz, int64_t rows) {
    if (spec_.input == spec_.output) return dz;
    const int64_t n = rows * spec_.out;
    dz16_.Reserve(spec_.max_rows * spec_.out * 2, context_->compute);
    Convert(context_, dz, spec_.output, dz16_.data(), spec_.input, n);
    return dz16_.data();
  }

  const LinearSpec spec_;
  Context* const context_;
  Product forward_, weights_, input_;
  std::unique_ptr<Product> weights_and_bias_;  // where the library has it
  void* bias16_ = nullptr;                     // of an epilogue that writes bf16
  Scratch dz16_;                               // fp32 outputs of a bf16 layer
};

}  // namespace

std::unique_ptr<AffineOp> MakeLinearOp(const LinearSpec& spec, Context* context) {
  return std::make_unique<Linear>(spec, context);
}

}  // namespace mariana::cuda
