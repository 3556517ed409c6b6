#include "common/comm/wire.h"

#include <cstring>

#include "common/device/formulas.h"

namespace mariana {
namespace {

using formulas::FromBits;
using formulas::ToBits;

// The three types, each with what one number becomes (To) and was (From). fp32 and bf16 have the
// range of fp32: their scale is 1, whatever is asked.
struct F32 {
  using Type = float;
  static float To(float x, float) { return x; }
  static float From(float x, float) { return x; }
};
struct Bf16 {
  using Type = uint16_t;
  static uint16_t To(float x, float) { return formulas::ToBf16(x); }
  static float From(uint16_t x, float) { return formulas::FromBf16(x); }
};
struct F16 {
  using Type = uint16_t;
  static uint16_t To(float x, float scale) { return ToF16(x * scale); }
  static float From(uint16_t x, float scale) { return FromF16(x) * (1 / scale); }
};

template <class Body>
void WithType(Wire wire, Body body) {
  if (wire == Wire::kF32) return body(F32());
  if (wire == Wire::kBf16) return body(Bf16());
  body(F16());
}

}  // namespace

uint16_t ToF16(float x) {
  constexpr uint32_t kInfinity = 0x7F800000u, kLargest = 0x477FE000u;  // 65504
  const uint32_t bits = ToBits(x), sign = (bits >> 16) & 0x8000u, all = bits & 0x7FFFFFFFu;
  const uint32_t magnitude = all < kInfinity && all > kLargest ? kLargest : all;
  // Below 2^-14 fp16's unit is 2^-24, that of fp32 at 1/2: an addition rounds there.
  const uint32_t small = ToBits(FromBits(magnitude) + 0.5f) - 0x3F000000u;
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t normal = (magnitude - (112u << 23) + 0xFFFu + odd) >> 13;
  const uint32_t finite = magnitude < (113u << 23) ? small : normal;
  const uint32_t special = magnitude > kInfinity ? 0x7E00u : 0x7C00u;
  return static_cast<uint16_t>(sign | (magnitude < kInfinity ? finite : special));
}

float FromF16(uint16_t x) {
  const uint32_t sign = static_cast<uint32_t>(x & 0x8000u) << 16, all = (x & 0x7FFFu) << 13;
  constexpr uint32_t kSmallest = 113u << 23;  // 2^-14, the smallest normal number
  const uint32_t small = ToBits(FromBits(all + kSmallest) - FromBits(kSmallest));
  const uint32_t normal = all + (112u << 23);
  const uint32_t finite = all < (1u << 23) ? small : normal;
  return FromBits(sign | (all < (0x7C00u << 13) ? finite : all | 0x7F800000u));
}

void Pack(Wire wire, float scale, const float* x, void* y, int64_t n) {
  WithType(wire, [&](auto type) {
    using T = decltype(type);
    auto* __restrict to = static_cast<typename T::Type*>(y);
    const float* __restrict from = x;
    for (int64_t i = 0; i < n; ++i) to[i] = T::To(from[i], scale);
  });
}

void Unpack(Wire wire, float scale, const void* x, float* y, int64_t n) {
  WithType(wire, [&](auto type) {
    using T = decltype(type);
    const auto* __restrict from = static_cast<const typename T::Type*>(x);
    float* __restrict to = y;
    for (int64_t i = 0; i < n; ++i) to[i] = T::From(from[i], scale);
  });
}

void AddUnpacked(Wire wire, float scale, const void* x, float* y, int64_t n) {
  WithType(wire, [&](auto type) {
    using T = decltype(type);
    const auto* __restrict from = static_cast<const typename T::Type*>(x);
    float* __restrict to = y;
    for (int64_t i = 0; i < n; ++i) to[i] += T::From(from[i], scale);
  });
}

void AddRounded(Wire wire, float scale, const float* x, float* y, int64_t n) {
  WithType(wire, [&](auto type) {
    using T = decltype(type);
    const float* __restrict from = x;
    float* __restrict to = y;
    for (int64_t i = 0; i < n; ++i) to[i] += T::From(T::To(from[i], scale), scale);
  });
}

void Round(Wire wire, float scale, float* x, int64_t n) {
  if (wire == Wire::kF32) return;
  WithType(wire, [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < n; ++i) x[i] = T::From(T::To(x[i], scale), scale);
  });
}

}  // namespace mariana
