// Tensor: a value (shape, dtype, device, shared storage, offset). Contiguous, row-major. Copying
// a Tensor shares the bytes; views never copy. The storage is freed when the last Tensor goes.
// Thread-compatible, like a shared_ptr.
#pragma once

#include <memory>

#include "common/base/shape.h"
#include "common/device/device.h"

namespace mariana {

class Tensor {
 public:
  Tensor() = default;
  // Zeroed device memory.
  Tensor(Device* device, Dtype dtype, Shape shape);
  // Memory that `device` can read, shared with its owner.
  Tensor(Device* device, Dtype dtype, Shape shape, std::shared_ptr<void> memory);

  bool empty() const { return storage_ == nullptr; }
  const Shape& shape() const { return shape_; }
  Dtype dtype() const { return dtype_; }
  Device* device() const { return device_; }
  int64_t elements() const { return shape_.elements(); }
  int64_t bytes() const { return elements() * SizeOf(dtype_); }

  void* data() const { return static_cast<char*>(storage_.get()) + offset_; }
  float* f32() const;  // CHECKs the dtype
  uint16_t* bf16() const;
  int32_t* i32() const;

  // The same bytes under another shape of as many elements.
  Tensor Reshape(Shape shape) const;
  // Rows [begin, begin + rows) along the outermost dimension.
  Tensor Rows(int64_t begin, int64_t rows) const;
  // `shape` elements of `dtype` starting at byte `offset` of this tensor's bytes.
  Tensor Slice(int64_t offset_bytes, Dtype dtype, Shape shape) const;

  void Upload(const void* host) const;  // bytes() bytes
  void Download(void* host) const;

 private:
  Device* device_ = nullptr;
  std::shared_ptr<void> storage_;
  int64_t offset_ = 0;  // bytes
  Dtype dtype_ = Dtype::kF32;
  Shape shape_;
};

}  // namespace mariana
