#include "common/device/cuda/context.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace mariana::cuda {
namespace {

bool SynchronousByRequest() {
  const char* value = std::getenv("MARIANA_CUDA_SYNC");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

}  // namespace

void Check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clears what does not stick
  throw Fail(ExitCode::kIo, "cuda: ", what, ": ", cudaGetErrorString(status), " (",
             cudaGetErrorName(status), ")");
}
void Check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Fail(ExitCode::kIo, "cuda: ", what, ": ", cublasLtGetStatusString(status));
}
void Check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw Fail(ExitCode::kIo, "cuda: ", what, ": ", cudnnGetErrorString(status));
}

Scratch::~Scratch() {
  for (void* p : blocks_) cudaFree(p);
}

void Scratch::Reserve(int64_t bytes, cudaStream_t stream) {
  if (bytes <= bytes_) return;
  // A replayed graph cannot allocate: what is recorded has run once before, and found its size.
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  Check(cudaStreamIsCapturing(stream, &capturing), "cudaStreamIsCapturing");
  if (capturing != cudaStreamCaptureStatusNone) {
    throw Fail(ExitCode::kInternal, "cuda: scratch memory grows from ", bytes_, " to ", bytes,
               " bytes while a graph is recorded");
  }
  bytes = std::max(bytes, 2 * bytes_);
  void* p = nullptr;
  Check(cudaMalloc(&p, static_cast<size_t>(bytes)), "cudaMalloc of scratch memory");
  blocks_.push_back(p);
  bytes_ = bytes;
}

Context::Context(int o, bool s) : ordinal(o), strict(s), synchronous_(SynchronousByRequest()) {
  Use();
  Check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  for (cudaStream_t* stream : {&compute, &copy, &exchange}) {
    Check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  Check(cublasLtCreate(&blas), "cublasLtCreate");
  workspace.Reserve(kBlasWorkspace, compute);
}

Context::~Context() {
  cudaSetDevice(ordinal);
  cudaStreamSynchronize(compute);
  if (dnn_ != nullptr) cudnnDestroy(dnn_);
  cublasLtDestroy(blas);
  for (cudaStream_t stream : {compute, copy, exchange}) cudaStreamDestroy(stream);
}

cudnnHandle_t Context::dnn() {
  if (dnn_ == nullptr) {
    Check(cudnnCreate(&dnn_), "cudnnCreate");
    Check(cudnnSetStream(dnn_, compute), "cudnnSetStream");
  }
  return dnn_;
}

void Context::Launched(const char* kernel) {
  last_ = kernel;
  cudaError_t status = cudaPeekAtLastError();
  if (status == cudaSuccess && synchronous_) {
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    status = cudaStreamIsCapturing(compute, &capturing);
    if (status == cudaSuccess && capturing == cudaStreamCaptureStatusNone) {
      status = cudaStreamSynchronize(compute);
    }
  }
  Check(status, kernel);
}

void Context::Synchronize() {
  const cudaError_t status = cudaStreamSynchronize(compute);
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw Fail(ExitCode::kIo, where(), ": ", cudaGetErrorString(status), " (",
             cudaGetErrorName(status), "), found after ", last_,
             synchronous_ ? "" : "; MARIANA_CUDA_SYNC=1 names the kernel");
}

}  // namespace mariana::cuda
