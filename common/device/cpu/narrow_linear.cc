// The linear layer with a few outputs, of either type: a product with so few columns waits for the
// memory that x is in, so nothing is packed, and weights stay in plain [out, in] layout, in fp32.
// No sum is split between threads: results do not depend on their number.
#include <glog/logging.h>

#include <cstring>

#include "common/device/cpu/linear.h"

namespace mariana {
namespace {

constexpr int64_t kColumnGrain = 64;
constexpr int64_t kRowElements = 1 << 14;  // worth handing to a thread

class NarrowLinear : public AffineOp {
 public:
  NarrowLinear(const LinearSpec& spec, const CpuContext& context)
      : spec_(spec), pool_(context.pool), k_(*context.kernels) {}

  int64_t weight_elements() const override { return spec_.in * spec_.out; }
  void PackWeights(const float* plain, float* packed) const override {
    std::memcpy(packed, plain, weight_elements() * sizeof(float));
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    std::memcpy(plain, packed, weight_elements() * sizeof(float));
  }

  void Forward(const void* x, const float* w, const uint16_t*, const float* b, void* y,
               int64_t rows) override {
    CHECK_LE(rows, spec_.max_rows);
    SplitRows(rows, [&](int64_t begin, int64_t end) {
      k_.narrow_forward(Of(end - begin), Row(x, begin, spec_.in, spec_.input), w,
                        spec_.bias ? b : nullptr, Row(y, begin, spec_.out, spec_.output));
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t*, void* dx,
                float* dw, float* db, int64_t rows, bool accumulate) override {
    CHECK_LE(rows, spec_.max_rows);
    if (spec_.activation != Activation::kNone || db != nullptr) {
      k_.slope_and_sums(spec_.activation, y, dy, spec_.out, rows, spec_.out, db, accumulate,
                        nullptr, spec_.output);
    }
    pool_->Split(spec_.in, kColumnGrain, [&](int64_t begin, int64_t end) {
      k_.narrow_weights(Of(rows), x, dy, begin, end, dw, accumulate);
    });
    if (dx == nullptr) return;
    SplitRows(rows, [&](int64_t begin, int64_t end) {
      k_.narrow_input(Of(end - begin), Row(dy, begin, spec_.out, spec_.output), w,
                      Row(dx, begin, spec_.in, spec_.input));
    });
  }

 private:
  NarrowShape Of(int64_t rows) const {
    return {rows, spec_.in, spec_.out, spec_.activation, spec_.input, spec_.output};
  }
  template <class F>
  void SplitRows(int64_t rows, const F& part) {
    pool_->Split(rows, kRowElements / spec_.in + 1, part);
  }
  static const void* Row(const void* p, int64_t row, int64_t columns, Dtype t) {
    return static_cast<const char*>(p) + row * columns * SizeOf(t);
  }
  static void* Row(void* p, int64_t row, int64_t columns, Dtype t) {
    return static_cast<char*>(p) + row * columns * SizeOf(t);
  }

  const LinearSpec spec_;
  Pool* const pool_;
  const Kernels& k_;
};

}  // namespace

std::unique_ptr<AffineOp> MakeNarrowLinear(const LinearSpec& spec, const CpuContext& context) {
  return std::make_unique<NarrowLinear>(spec, context);
}

}  // namespace mariana
