// Product: one matrix product of cuBLASLt, with what it does to the result in the same pass. Its
// plan (layouts, and the algorithm that the library's heuristics put first) is made once per number
// of rows and alignment, and kept.
//
// cuBLASLt counts in columns: a row-major [rows, cols] matrix is a column-major [cols, rows] one.
//
// Threading: the trainer's thread.
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "common/device/cuda/context.h"
#include "common/device/device.h"

namespace mariana::cuda {

class Product {
 public:
  enum class Rows : uint8_t { kM, kN, kK };  // which extent is the number of rows of a step
  // d [m, n] = op(a) op(b) (+ d when asked to add), column-major; op is a transpose or nothing.
  struct Spec {
    const char* name;             // in messages
    int64_t m = 0, n = 0, k = 0;  // the one that counts rows is ignored
    Rows rows = Rows::kN;
    bool transpose_a = false, transpose_b = false;
    Dtype in = Dtype::kF32, out = Dtype::kF32;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    cudaDataType_t bias = CUDA_R_32F;  // of epilogues that have one
  };
  Product(const Spec& spec, Context* context);
  ~Product();
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  // Whether the library can do it, with 16-byte addresses.
  bool Possible(int64_t rows);
  // bias: read or written, as the epilogue says.
  void Run(const void* a, const void* b, void* d, const void* bias, int64_t rows, bool add);

 private:
  struct Plan;
  const Plan* PlanFor(int64_t rows, int alignment);

  const Spec spec_;
  Context* const context_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  std::map<std::pair<int64_t, int>, std::unique_ptr<Plan>> plans_;  // by rows and alignment
};

}  // namespace mariana::cuda
