// Launching bodies (bodies.h): over elements, or over rows and columns. Included by .cu files.
#pragma once

#include "common/device/cuda/bodies.h"
#include "common/device/cuda/context.h"

namespace mariana::cuda {

constexpr int kThreads = 256;  // of a block

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Threads side by side over `columns`: a power of two up to kThreads.
inline int Across(int64_t columns) {
  int across = 1;
  while (across < kThreads && across < columns) across *= 2;
  return across;
}

template <class Body>
__global__ void __launch_bounds__(kThreads) EachIndex(int64_t n, Body body) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) body(i);
}

// The body takes elements [i, i + W).
template <int W, class Body>
__global__ void __launch_bounds__(kThreads) EachPack(int64_t n, Body body) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * W;
  if (i < n) body(i, n);
}

// Two blocks at least: the compiler would save registers for more, and spill.
template <class Body>
__global__ void __launch_bounds__(kThreads, 2) EachCell(int64_t rows, int64_t columns, Body body) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) body(row, c);
}

// body(i) for i in [0, n).
template <class Body>
void LaunchEach(Context* context, const char* name, int64_t n, const Body& body) {
  if (n <= 0) return;
  EachIndex<<<static_cast<unsigned>(CeilDiv(n, kThreads)), kThreads, 0, context->compute>>>(n,
                                                                                            body);
  context->Launched(name);
}

template <int W, class Body>
void LaunchPacks(Context* context, const char* name, int64_t n, const Body& body) {
  if (n <= 0) return;
  const int64_t blocks = CeilDiv(n, int64_t{W} * kThreads);
  EachPack<W><<<static_cast<unsigned>(blocks), kThreads, 0, context->compute>>>(n, body);
  context->Launched(name);
}

// body(row, column).
template <class Body>
void LaunchCells(Context* context, const char* name, int64_t rows, int64_t columns,
                 const Body& body) {
  if (rows <= 0 || columns <= 0) return;
  const int across = Across(columns);
  const dim3 block(across, kThreads / across);
  EachCell<<<static_cast<unsigned>(CeilDiv(rows, block.y)), block, 0, context->compute>>>(
      rows, columns, body);
  context->Launched(name);
}

// f(T*) with T the element type of a dtype; the value is a null pointer.
template <class F>
void WithType(Dtype t, const F& f) {
  if (t == Dtype::kBF16) {
    f(static_cast<uint16_t*>(nullptr));
  } else {
    f(static_cast<float*>(nullptr));
  }
}

template <Activation a>
struct ActivationTag {
  static constexpr Activation kValue = a;
};
template <class F>
void WithActivation(Activation a, const F& f) {
  switch (a) {
    case Activation::kNone: return f(ActivationTag<Activation::kNone>());
    case Activation::kSigmoid: return f(ActivationTag<Activation::kSigmoid>());
    case Activation::kTanh: return f(ActivationTag<Activation::kTanh>());
    case Activation::kRelu: return f(ActivationTag<Activation::kRelu>());
  }
}

template <class T>
const T* As(const void* p, T*) {
  return static_cast<const T*>(p);
}
template <class T>
T* As(void* p, T*) {
  return static_cast<T*>(p);
}

}  // namespace mariana::cuda
