#include <glog/logging.h>

#include "common/device/cuda/kernels.h"
#include "common/device/cuda/operations.h"

namespace mariana::cuda {
namespace {

class Pooling : public PoolOp {
 public:
  Pooling(const PoolSpec& spec, Context* context) : spec_(spec), context_(context) {
    const Window& w = spec.window;
    CHECK(spec.in.channels == spec.out.channels && w.dilation_h == 1 && w.dilation_w == 1);
    if (spec.kind == PoolKind::kMax && w.kernel_h * w.kernel_w > 256) {
      throw Fail(ExitCode::kUsage, context->where(), ": max pooling over ", w.kernel_h, "x",
                 w.kernel_w, " pixels; at most 256 there are");
    }
    CHECK_LT(spec.max_rows * spec.in.height * spec.in.width, int64_t{1} << 32);
    CHECK_LT(spec.max_rows * spec.out.height * spec.out.width, int64_t{1} << 32);
  }
  int64_t saved_bytes() const override {
    return spec_.kind == PoolKind::kMax ? spec_.max_rows * spec_.out.elements() : 0;
  }
  void Forward(const void* x, void* y, void* saved, int64_t rows) override {
    context_->Use();
    PoolForwardPass(context_, spec_, x, y, saved, rows);
  }
  void Backward(const void* dy, const void* saved, void* dx, int64_t rows) override {
    context_->Use();
    PoolBackwardPass(context_, spec_, dy, saved, dx, rows);
  }

 private:
  const PoolSpec spec_;
  Context* const context_;
};

}  // namespace

std::unique_ptr<PoolOp> MakePoolOp(const PoolSpec& spec, Context* context) {
  return std::make_unique<Pooling>(spec, context);
}

}  // namespace mariana::cuda
