// The bf16 linear layer, on oneDNN; weights stay in plain [out, in] layout. Each product is split
// over the threads along the longer side of its result, so no sum is split.
#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/base/error.h"
#include "common/device/cpu/bf16_gemm.h"
#include "common/device/cpu/linear.h"

namespace mariana {
namespace {

constexpr int64_t kColumnGrain = 16, kRowGrain = 8;

class Bf16Linear : public AffineOp {
 public:
  Bf16Linear(const LinearSpec& spec, const CpuContext& context)
      : spec_(spec), pool_(context.pool), memory_(context.memory), kernels_(*context.kernels) {
    // Says now if the CPU cannot.
    gemms_.Prepare({spec.max_rows, spec.out, spec.in, spec.in, spec.in, spec.out, false, true,
                    spec.bias, false, spec.output});
    if (spec.output == Dtype::kF32) {
      dz16_ = static_cast<uint16_t*>(memory_->Allocate(spec.max_rows * spec.out * 2));
    }
  }
  ~Bf16Linear() override { memory_->Free(dz16_); }

  int64_t weight_elements() const override { return spec_.in * spec_.out; }
  void PackWeights(const float* plain, float* packed) const override {
    std::memcpy(packed, plain, weight_elements() * sizeof(float));
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    std::memcpy(plain, packed, weight_elements() * sizeof(float));
  }

  void Forward(const void* x, const float*, const uint16_t* w16, const float* b, void* y,
               int64_t rows) override {
    const int64_t in = spec_.in, out = spec_.out, size = SizeOf(spec_.output);
    Product(rows, out, in, {x, in, false}, {w16, in, true}, spec_.bias ? b : nullptr, y,
            spec_.output, false);
    if (spec_.activation == Activation::kNone) return;
    pool_->Split(rows * out, 4096, [&](int64_t begin, int64_t end) {
      char* part = static_cast<char*>(y) + begin * size;
      kernels_.activate(spec_.activation, part, part, end - begin, spec_.output);
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float*, const uint16_t* w16, void* dx,
                float* dw, float* db, int64_t rows, bool accumulate) override {
    const int64_t in = spec_.in, out = spec_.out;
    SlopeAndSums(y, dy, db, rows, accumulate, dz16_);
    const void* dz = dz16_ != nullptr ? dz16_ : dy;
    Product(out, in, rows, {dz, out, true}, {x, in, false}, nullptr, dw, Dtype::kF32, accumulate);
    if (dx == nullptr) return;
    Product(rows, in, out, {dz, out, false}, {w16, in, false}, nullptr, dx, spec_.input, false);
  }

 private:
  // dy becomes the gradient before the activation; db its column sums. copy16 as in Kernels.
  void SlopeAndSums(const void* y, void* dy, float* db, int64_t rows, bool accumulate,
                    uint16_t* copy16) {
    if (spec_.activation == Activation::kNone && db == nullptr && copy16 == nullptr) return;
    const int64_t out = spec_.out, size = SizeOf(spec_.output);
    pool_->Split(out, kColumnGrain, [&](int64_t b, int64_t e) {
      kernels_.slope_and_sums(spec_.activation, static_cast<const char*>(y) + b * size,
                              static_cast<char*>(dy) + b * size, out, rows, e - b,
                              db == nullptr ? nullptr : db + b, accumulate,
                              copy16 == nullptr ? nullptr : copy16 + b, spec_.output);
    });
  }

  void Product(int64_t m, int64_t n, int64_t k, GemmOperand a, GemmOperand b, const float* bias,
               void* c, Dtype c_type, bool accumulate) {
    // Compiled here, on one thread; the threads then only look up.
    const auto shape = [&](int64_t rows, int64_t cols) {
      return Bf16Gemms::Shape{
          rows,       cols,  k, a.stride, b.stride, n, a.transposed, b.transposed, bias != nullptr,
          accumulate, c_type};
    };
    struct Part {
      int64_t r, c;
      const Bf16Gemms::Product* product;
    };
    std::vector<Part> parts;
    ForEachPart(m, n, [&](int64_t r, int64_t rows, int64_t col, int64_t cols) {
      parts.push_back({r, col, gemms_.Prepare(shape(rows, cols))});
    });
    pool_->Run(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      const Part& p = parts[i];
      Bf16Gemms::Run(p.product, At16(a, a.transposed ? p.r : p.r * a.stride),
                     At16(b, b.transposed ? p.c * b.stride : p.c),
                     bias == nullptr ? nullptr : bias + p.c,
                     static_cast<char*>(c) + (p.r * n + p.c) * SizeOf(c_type));
    });
  }

  static const uint16_t* At16(const GemmOperand& o, int64_t i) {
    return static_cast<const uint16_t*>(o.data) + i;
  }

  // part(first row, rows, first column, columns) over the parts of an [m, n] result.
  template <class F>
  void ForEachPart(int64_t m, int64_t n, const F& part) {
    const bool columns = n >= m;
    const int64_t length = columns ? n : m, grain = columns ? kColumnGrain : kRowGrain;
    const int64_t grains = (length + grain - 1) / grain;
    const int64_t count = std::min<int64_t>(grains, pool_->threads());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t b = grains * i / count * grain;
      const int64_t e = std::min(length, grains * (i + 1) / count * grain);
      columns ? part(0, m, b, e - b) : part(b, e - b, 0, n);
    }
  }

  const LinearSpec spec_;
  Pool* const pool_;
  HostMemory* const memory_;
  const Kernels& kernels_;
  Bf16Gemms gemms_;
  uint16_t* dz16_ = nullptr;  // dy rounded, when y is fp32
};

}  // namespace

std::unique_ptr<AffineOp> MakeBf16Linear(const LinearSpec& spec, const CpuContext& context) {
  return std::make_unique<Bf16Linear>(spec, context);
}

}  // namespace mariana
