// Products of bf16 matrices on oneDNN, each call on one thread: the caller splits the output.
//
// Threading: Prepare from one thread, then Run from many.
#pragma once

#include <cstdint>
#include <memory>

#include "common/base/shape.h"

namespace mariana {

// A row-major matrix in memory, read transposed or not.
struct GemmOperand {
  const void* data;
  int64_t stride;  // elements between the rows that are stored
  bool transposed;
};

// Sums are fp32. A product of each shape is compiled once.
// Error(kUsage) where the CPU has no bf16 instructions nor AVX-512 to emulate them.
class Bf16Gemms {
 public:
  struct Shape {
    int64_t m, n, k, a_stride, b_stride, c_stride;
    bool a_transposed, b_transposed, bias, accumulate;
    Dtype c;  // kF32 or kBF16
    bool operator<(const Shape& o) const;
  };
  class Product;  // one compiled

  Bf16Gemms();
  ~Bf16Gemms();
  const Product* Prepare(const Shape& shape);
  // bias: fp32 [n], null when the shape has none.
  static void Run(const Product* product, const void* a, const void* b, const float* bias, void* c);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mariana
