// Packs: a few neighbouring elements of either float type, loaded and stored at once: 16 bytes of
// each array at a time where addresses allow, one element elsewhere. For bodies of kernels, which
// the host can run as well (tests do).
#pragma once

#include <cstdint>

#include "common/device/formulas.h"

namespace mariana::cuda {

template <class T, int W>
struct alignas(sizeof(T) * W < 16 ? sizeof(T) * W : 16) Pack {
  T v[W];
};

MARIANA_HOST_DEVICE inline float ToFloat(float x) { return x; }
MARIANA_HOST_DEVICE inline float ToFloat(uint16_t x) { return formulas::FromBf16(x); }

template <class T>
MARIANA_HOST_DEVICE inline T FromFloat(float x) {
  if constexpr (sizeof(T) == 2) {
    return formulas::ToBf16(x);
  } else {
    return x;
  }
}

// W neighbours as floats.
template <int W, class T>
MARIANA_HOST_DEVICE inline Pack<float, W> LoadPack(const T* p) {
  const Pack<T, W> from = *reinterpret_cast<const Pack<T, W>*>(p);
  Pack<float, W> to;
  for (int k = 0; k < W; ++k) to.v[k] = ToFloat(from.v[k]);
  return to;
}
template <int W, class T>
MARIANA_HOST_DEVICE inline void StorePack(const Pack<float, W>& from, T* p) {
  Pack<T, W> to;
  for (int k = 0; k < W; ++k) to.v[k] = FromFloat<T>(from.v[k]);
  *reinterpret_cast<Pack<T, W>*>(p) = to;
}
// Bits as they are.
template <int W, class T>
MARIANA_HOST_DEVICE inline void CopyPack(const T* from, T* to) {
  *reinterpret_cast<Pack<T, W>*>(to) = *reinterpret_cast<const Pack<T, W>*>(from);
}

// Whether every address and length (in bytes) allows accesses of `bytes`.
template <class... P>
bool Aligned(int64_t bytes, const P*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0) && ...);
}

// Elements of a 16-byte access.
template <class T>
constexpr int kPackOf = 16 / static_cast<int>(sizeof(T));

}  // namespace mariana::cuda
