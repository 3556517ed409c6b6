// What the operations of a CUDA device share: its streams, libraries' handles and scratch memory.
//
// Streams: `compute` takes all work of the trainer's thread, in order; `copy` the uploads from
// another thread; `exchange` what arrives from other devices. Calls on the last two wait for their
// end, so the host orders them with the rest.
//
// Threading: Use() by any thread; everything else by the trainer's.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/error.h"

namespace mariana::cuda {

// Throws Error(kIo) with what was tried and what the library says.
void Check(cudaError_t status, const char* what);
void Check(cublasStatus_t status, const char* what);
void Check(cudnnStatus_t status, const char* what);

// Device memory that grows. What it outgrew stays until the end: recorded graphs may write there.
class Scratch {
 public:
  ~Scratch();
  void Reserve(int64_t bytes, cudaStream_t stream);
  void* data() const { return blocks_.empty() ? nullptr : blocks_.back(); }
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<void*> blocks_;
  int64_t bytes_ = 0;
};

class Context {
 public:
  // strict: products in full fp32 instead of TF32. Throws Error naming the device.
  Context(int ordinal, bool strict);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void Use() const { Check(cudaSetDevice(ordinal), "cudaSetDevice"); }
  // After each launch: an error of the launch, or with MARIANA_CUDA_SYNC=1 of the run, names it.
  void Launched(const char* kernel);
  // Waits for the compute stream; an error names the operation queued last.
  void Synchronize();
  // cuDNN's handle, made when it is first asked for: nets without convolutions do without.
  cudnnHandle_t dnn();
  float* Partials(int64_t floats) {
    partials.Reserve(floats * static_cast<int64_t>(sizeof(float)), compute);
    return static_cast<float*>(partials.data());
  }
  std::string where() const { return StrCat("cuda:", ordinal); }

  const int ordinal;
  const bool strict;
  cudaStream_t compute = nullptr, copy = nullptr, exchange = nullptr;
  cublasLtHandle_t blas = nullptr;
  cudaDeviceProp properties{};
  Scratch workspace;  // of the libraries
  Scratch partials;   // of our reductions; each uses it up before the next

 private:
  cudnnHandle_t dnn_ = nullptr;
  const bool synchronous_;
  const char* last_ = "set-up";  // a literal
};

// What cuBLASLt may use beside its operands.
constexpr int64_t kBlasWorkspace = 32 << 20;

}  // namespace mariana::cuda
