#include "common/base/random.h"

#include <glog/logging.h>

#include <cmath>

namespace mariana {

uint32_t RandomSequence::Bits() {
  if (left_ == 0) {
    block_ = Philox(seed_, stream_, index_++);
    left_ = 4;
  }
  return block_.v[4 - left_--];
}

float RandomSequence::Normal() {
  const double u = (Bits() + 1.0) / 4294967296.0, v = Bits() / 4294967296.0;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

uint64_t RandomSequence::Below(uint64_t n) {
  CHECK_GT(n, 0u);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
  for (;;) {
    const uint64_t high = Bits();  // a statement each: operands of | have no order
    const uint64_t bits = high << 32 | Bits();
    if (bits < limit) return bits % n;
  }
}

}  // namespace mariana
