// Numbers as they travel between nodes: fp32, or bf16 to nearest (row weights and gradients lie in
// any range, and row optimizers take relative errors of 2^-9 in their stride). Loops that the
// compiler vectorises; thread-safe.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/device/formulas.h"

namespace mariana {

enum class WireType : uint8_t { kBf16 = 2, kF32 = 4 };  // bytes of a value
constexpr int64_t BytesOf(WireType type) { return static_cast<int64_t>(type); }

inline void ToWire(WireType type, const float* x, int64_t n, char* to) {
  if (type == WireType::kF32) {
    std::memcpy(to, x, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t y = formulas::ToBf16(x[i]);
    __builtin_memcpy(to + 2 * i, &y, 2);
  }
}

inline void FromWire(WireType type, const char* x, int64_t n, float* to) {
  if (type == WireType::kF32) {
    std::memcpy(to, x, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    uint16_t y;
    __builtin_memcpy(&y, x + 2 * i, 2);
    to[i] = formulas::FromBf16(y);
  }
}

}  // namespace mariana
