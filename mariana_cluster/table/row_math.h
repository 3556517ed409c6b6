// The arithmetic of sparse optimizers, one weight at a time: pure functions without branches, so
// that loops over a row vectorise. Thread-safe: no state. Sources: row_layout.h.
#pragma once

#include "common/base/random.h"
#include "mariana_cluster/table/row_layout.h"

namespace mariana::row_math {

MARIANA_HOST_DEVICE inline float Sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f; }

// The gradient with the penalties of all optimizers but FTRL.
MARIANA_HOST_DEVICE inline float Penalized(const LayoutPart& p, float g, float w) {
  return g + p.l2 * w + p.l1 * Sign(w);
}

// FTRL's weight at (z, n): 0 while |z| <= l1.
MARIANA_HOST_DEVICE inline float FtrlWeight(const LayoutPart& p, float z, float n) {
  const float rate = (p.beta + __builtin_sqrtf(n)) / p.learning_rate + p.l2;
  const float w = (Sign(z) * p.l1 - z) / rate;
  const float size = z < 0.0f ? -z : z;
  return size <= p.l1 ? 0.0f : w;
}

// The z at which FTRL's weight is `w` before any gradient (n = 0).
MARIANA_HOST_DEVICE inline float FtrlZ(const LayoutPart& p, float w) {
  return -w * (p.beta / p.learning_rate + p.l2) - Sign(w) * p.l1;
}

// One gradient. sqrt(n + g^2) - sqrt(n) is written as g^2 over their sum, which does not cancel.
MARIANA_HOST_DEVICE inline void Ftrl(const LayoutPart& p, float g, float* z, float* n) {
  const float square = g * g;
  const float sum = *n + square;
  const float roots = __builtin_sqrtf(sum) + __builtin_sqrtf(*n);
  const float sigma = square / ((roots > 1e-30f ? roots : 1e-30f) * p.learning_rate);
  *z += g - sigma * FtrlWeight(p, *z, *n);
  *n = sum;
}

}  // namespace mariana::row_math
