#include "common/device/cpu/pooling.h"

#include <glog/logging.h>

#include "common/base/error.h"

namespace mariana {
namespace {

class Pooling : public PoolOp {
 public:
  Pooling(const PoolSpec& spec, const CpuContext& context)
      : spec_(spec), pool_(context.pool), kernels_(*context.kernels) {
    const Window& w = spec.window;
    CHECK(spec.in.channels == spec.out.channels && w.dilation_h == 1 && w.dilation_w == 1);
    if (spec.kind == PoolKind::kMax && w.kernel_h * w.kernel_w > 256) {
      throw Fail(ExitCode::kUsage, "cpu device: max pooling over ", w.kernel_h, "x", w.kernel_w,
                 " pixels; at most 256 there are");
    }
  }

  int64_t saved_bytes() const override {
    return spec_.kind == PoolKind::kMax ? spec_.max_rows * spec_.out.elements() : 0;
  }
  void Forward(const void* x, void* y, void* saved, int64_t rows) override {
    pool_->Split(rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        kernels_.pool(spec_, At(x, i, spec_.in), At(y, i, spec_.out), Saved(saved, i));
      }
    });
  }
  void Backward(const void* dy, const void* saved, void* dx, int64_t rows) override {
    pool_->Split(rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        kernels_.pool_backward(spec_, At(dy, i, spec_.out), Saved(const_cast<void*>(saved), i),
                               At(dx, i, spec_.in));
      }
    });
  }

 private:
  const void* At(const void* p, int64_t image, const ImageSize& size) const {
    return static_cast<const char*>(p) + image * size.elements() * SizeOf(spec_.dtype);
  }
  void* At(void* p, int64_t image, const ImageSize& size) const {
    return static_cast<char*>(p) + image * size.elements() * SizeOf(spec_.dtype);
  }
  uint8_t* Saved(void* p, int64_t image) const {
    if (spec_.kind != PoolKind::kMax) return nullptr;
    return static_cast<uint8_t*>(p) + image * spec_.out.elements();
  }

  const PoolSpec spec_;
  Pool* const pool_;
  const Kernels& kernels_;
};

}  // namespace

std::unique_ptr<PoolOp> MakePoolOp(const PoolSpec& spec, const CpuContext& context) {
  return std::make_unique<Pooling>(spec, context);
}

}  // namespace mariana
