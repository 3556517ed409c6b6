#include "common/base/shape.h"

namespace mariana {

const char* Name(Dtype t) {
  switch (t) {
    case Dtype::kF32: return "f32";
    case Dtype::kBF16: return "bf16";
    case Dtype::kI32: return "i32";
    case Dtype::kI64: return "i64";
    case Dtype::kU8: return "u8";
  }
  return "?";
}

int64_t Shape::elements() const {
  int64_t n = 1;
  for (int64_t d : dims_) n *= d;
  return n;
}

std::string Shape::ToString() const {
  std::string s = "[";
  for (size_t i = 0; i < dims_.size(); ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
  return s + "]";
}

}  // namespace mariana
