// Numbers in the types that travel, on the host. To nearest, ties to even; NaN and infinity go
// through. fp16: finite numbers beyond its range become its largest; gradients travel as 1024
// times their value, because means over a batch are small (below 6e-8 fp16 has nothing).
// Pure functions; the compiler vectorises them, memory bounds them.
#pragma once

#include <cstdint>

#include "common/comm/exchange.h"

namespace mariana {

uint16_t ToF16(float x);
float FromF16(uint16_t x);

// What the numbers of a phase are multiplied by to travel.
constexpr float kGradientScale = 1024;
constexpr float kValueScale = 1;

// y[i] = x[i] as it travels; `y` holds n * BytesOf(wire) bytes.
void Pack(Wire wire, float scale, const float* x, void* y, int64_t n);
// y[i] = what x[i] stands for, or y[i] += that.
void Unpack(Wire wire, float scale, const void* x, float* y, int64_t n);
void AddUnpacked(Wire wire, float scale, const void* x, float* y, int64_t n);
// Both at once: y[i] += x[i] as it arrives; x[i] becomes what arrives.
void AddRounded(Wire wire, float scale, const float* x, float* y, int64_t n);
void Round(Wire wire, float scale, float* x, int64_t n);

}  // namespace mariana
