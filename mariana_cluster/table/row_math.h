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

// FTRL's weight at (z, n) over its learning rate, `root` being that of n: 0 while |z| <= l1.
MARIANA_HOST_DEVICE inline float FtrlDirection(const LayoutPart& p, float z, float root) {
  const float above = __builtin_fabsf(z) - p.l1;
  const float size = above < 0.0f ? 0.0f : above;
  const float slowness = p.beta + root + p.l2 * p.learning_rate;
  return (0.0f - __builtin_copysignf(size, z)) / (slowness < 1e-30f ? 1e-30f : slowness);
}
MARIANA_HOST_DEVICE inline float FtrlWeight(const LayoutPart& p, float z, float n) {
  return p.learning_rate * FtrlDirection(p, z, __builtin_sqrtf(n));
}

// The z at which FTRL's weight is `w` before any gradient (n = 0).
MARIANA_HOST_DEVICE inline float FtrlZ(const LayoutPart& p, float w) {
  return -w * (p.beta / p.learning_rate + p.l2) - Sign(w) * p.l1;
}

// One gradient; direction and root are those of (z, n). sqrt(n + g^2) - sqrt(n) is written as g^2
// over their sum, which does not cancel.
MARIANA_HOST_DEVICE inline void FtrlStep(float g, float direction, float root, float* z, float* n) {
  const float square = g * g;
  const float sum = *n + square;
  const float roots = __builtin_sqrtf(sum) + root;
  *z += g - square / (roots > 1e-30f ? roots : 1e-30f) * direction;
  *n = sum;
}
MARIANA_HOST_DEVICE inline void Ftrl(const LayoutPart& p, float g, float* z, float* n) {
  const float root = __builtin_sqrtf(*n);
  FtrlStep(g, FtrlDirection(p, *z, root), root, z, n);
}

}  // namespace mariana::row_math
