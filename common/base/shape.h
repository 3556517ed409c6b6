// Shape and Dtype: what a tensor's bytes mean. Values; thread-compatible.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace mariana {

enum class Dtype : uint8_t { kF32, kBF16, kI32, kI64, kU8 };

constexpr int64_t SizeOf(Dtype t) {
  return t == Dtype::kI64 ? 8 : t == Dtype::kBF16 ? 2 : t == Dtype::kU8 ? 1 : 4;
}
const char* Name(Dtype t);  // "f32", "bf16", "i32", "i64", "u8"

// Row-major extents, outermost first. A default Shape is a scalar (one element).
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : dims_(dims) {}
  explicit Shape(std::vector<int64_t> dims) : dims_(std::move(dims)) {}

  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t operator[](int i) const { return dims_[i]; }
  const std::vector<int64_t>& dims() const { return dims_; }
  int64_t elements() const;      // product of extents; 1 for a scalar
  std::string ToString() const;  // "[2, 3]"
  bool operator==(const Shape& o) const { return dims_ == o.dims_; }
  bool operator!=(const Shape& o) const { return dims_ != o.dims_; }

 private:
  std::vector<int64_t> dims_;
};

}  // namespace mariana
