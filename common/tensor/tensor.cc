#include "common/tensor/tensor.h"

#include <glog/logging.h>

namespace mariana {

Tensor::Tensor(Device* device, Dtype dtype, Shape shape)
    : device_(device), dtype_(dtype), shape_(std::move(shape)) {
  storage_ =
      std::shared_ptr<void>(device->Allocate(bytes()), [device](void* p) { device->Free(p); });
}

Tensor::Tensor(Device* device, Dtype dtype, Shape shape, std::shared_ptr<void> memory)
    : device_(device), storage_(std::move(memory)), dtype_(dtype), shape_(std::move(shape)) {}

float* Tensor::f32() const {
  CHECK(dtype_ == Dtype::kF32) << "tensor is " << Name(dtype_);
  return static_cast<float*>(data());
}

uint16_t* Tensor::bf16() const {
  CHECK(dtype_ == Dtype::kBF16) << "tensor is " << Name(dtype_);
  return static_cast<uint16_t*>(data());
}

int32_t* Tensor::i32() const {
  CHECK(dtype_ == Dtype::kI32) << "tensor is " << Name(dtype_);
  return static_cast<int32_t*>(data());
}

Tensor Tensor::Reshape(Shape shape) const {
  CHECK_EQ(shape.elements(), elements()) << shape_.ToString() << " to " << shape.ToString();
  return Slice(0, dtype_, std::move(shape));
}

Tensor Tensor::Rows(int64_t begin, int64_t rows) const {
  CHECK(shape_.rank() >= 1 && begin >= 0 && rows >= 0 && begin + rows <= shape_[0])
      << "rows [" << begin << ", " << begin + rows << ") of " << shape_.ToString();
  std::vector<int64_t> dims = shape_.dims();
  dims[0] = 1;
  const int64_t row_bytes = Shape(dims).elements() * SizeOf(dtype_);
  dims[0] = rows;
  return Slice(begin * row_bytes, dtype_, Shape(std::move(dims)));
}

Tensor Tensor::Slice(int64_t offset_bytes, Dtype dtype, Shape shape) const {
  const int64_t size = shape.elements() * SizeOf(dtype);
  CHECK(offset_bytes >= 0 && offset_bytes + size <= bytes())
      << "bytes [" << offset_bytes << ", " << offset_bytes + size << ") of " << bytes();
  Tensor view = *this;
  view.offset_ = offset_ + offset_bytes;
  view.dtype_ = dtype;
  view.shape_ = std::move(shape);
  return view;
}

void Tensor::Upload(const void* host) const { device_->Upload(data(), host, bytes()); }

void Tensor::Download(void* host) const { device_->Download(host, data(), bytes()); }

}  // namespace mariana
