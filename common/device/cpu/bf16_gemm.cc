#include "common/device/cpu/bf16_gemm.h"

#include <glog/logging.h>

#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>
#include <unordered_map>

#include "common/base/error.h"
#include "common/device/cpu/onednn.h"

namespace mariana {
namespace {

dnnl::memory::desc Describe(int64_t rows, int64_t cols, int64_t stride, bool transposed,
                            dnnl::memory::data_type type) {
  const dnnl::memory::dims strides =
      transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1};
  return dnnl::memory::desc({rows, cols}, type, strides);
}

}  // namespace

bool Bf16Gemms::Shape::operator<(const Shape& o) const {
  const auto key = [](const Shape& s) {
    return std::make_tuple(s.m, s.n, s.k, s.a_stride, s.b_stride, s.c_stride, s.a_transposed,
                           s.b_transposed, s.bias, s.accumulate, s.c);
  };
  return key(*this) < key(o);
}

class Bf16Gemms::Product {
 public:
  Product(const dnnl::engine& engine, const Shape& s)
      : engine_(engine),
        bias_(s.bias),
        a_(Describe(s.m, s.k, s.a_stride, s.a_transposed, dnnl::memory::data_type::bf16)),
        b_(Describe(s.k, s.n, s.b_stride, s.b_transposed, dnnl::memory::data_type::bf16)),
        c_(Describe(
            s.m, s.n, s.c_stride, false,
            s.c == Dtype::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32)),
        bias_desc_({1, s.n}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::ab) {
    dnnl::primitive_attr attributes;
    if (s.accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const dnnl::matmul::desc desc =
        bias_ ? dnnl::matmul::desc(a_, b_, bias_desc_, c_) : dnnl::matmul::desc(a_, b_, c_);
    product_ = dnnl::matmul(dnnl::matmul::primitive_desc(desc, attributes, engine_));
  }

  void Execute(const void* a, const void* b, const float* bias, void* c) const {
    const auto memory = [&](const dnnl::memory::desc& desc, const void* p) {
      return dnnl::memory(desc, engine_, const_cast<void*>(p));
    };
    std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, memory(a_, a)},
                                                    {DNNL_ARG_WEIGHTS, memory(b_, b)},
                                                    {DNNL_ARG_DST, memory(c_, c)}};
    if (bias_) arguments.emplace(DNNL_ARG_BIAS, memory(bias_desc_, bias));
    dnnl::stream stream(engine_);
    product_.execute(stream, arguments);
    stream.wait();
  }

 private:
  dnnl::engine engine_;
  bool bias_;
  dnnl::memory::desc a_, b_, c_, bias_desc_;
  dnnl::matmul product_;
};

struct Bf16Gemms::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::map<Shape, std::unique_ptr<Product>> products;
};

Bf16Gemms::Bf16Gemms() : state_(std::make_unique<State>()) {}
Bf16Gemms::~Bf16Gemms() = default;

const Bf16Gemms::Product* Bf16Gemms::Prepare(const Shape& shape) {
  std::unique_ptr<Product>& product = state_->products[shape];
  if (product == nullptr) {
    LimitOneDnnToOneThread();
    try {
      product = std::make_unique<Product>(state_->engine, shape);
    } catch (const dnnl::error& e) {
      throw Fail(ExitCode::kUsage, "cpu device: no bf16 arithmetic on this CPU (oneDNN: ", e.what(),
                 "); compute in fp32 here");
    }
  }
  return product.get();
}

void Bf16Gemms::Run(const Product* product, const void* a, const void* b, const float* bias,
                    void* c) {
  LimitOneDnnToOneThread();
  try {
    product->Execute(a, b, bias, c);
  } catch (const dnnl::error& e) {
    LOG(FATAL) << "oneDNN bf16 product: " << e.what();
  }
}

}  // namespace mariana
