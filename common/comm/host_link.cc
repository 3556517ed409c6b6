#include "common/comm/host_link.h"

#include <immintrin.h>

#include <cstring>

#include "common/comm/wire.h"

namespace mariana {
namespace {

constexpr int64_t kCachedBytes = 16 << 20;

// y = x, whose lines are not in a cache afterwards.
void CopyPastCaches(const float* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(y + i) % 64 != 0; ++i) y[i] = x[i];
  for (; i + 16 <= n; i += 16) {
    for (int k = 0; k < 16; k += 4) _mm_stream_ps(y + i + k, _mm_loadu_ps(x + i + k));
  }
  for (; i < n; ++i) y[i] = x[i];
  _mm_sfence();  // the range is published by a plain write, which must not overtake these
}

}  // namespace

HostLink::HostLink(const LinkEnds& ends, int64_t arena_bytes)
    : ends_(ends), past_caches_(arena_bytes > kCachedBytes) {}

void HostLink::Publish(const LaneKey& lane, Range) { ends_.arrivals->Arrived(lane, ends_.from); }

void HostLink::Receive(const LaneKey&, const Step& step, std::function<void()> done) {
  const Range r = step.range;
  if (step.kind == Step::Kind::kAdd) {
    AddRounded(step.wire, kGradientScale, ends_.sender->grads + r.begin,
               ends_.receiver->grads + r.begin, r.size());
    collected_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  } else {  // the owner has rounded
    const float* const x = ends_.sender->values + r.begin;
    float* const y = ends_.receiver->values + r.begin;
    if (past_caches_) {
      CopyPastCaches(x, y, r.size());
    } else {
      std::memcpy(y, x, static_cast<size_t>(r.size()) * sizeof(float));
    }
    distributed_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  }
  done();
}

LinkBytes HostLink::bytes() const {
  return {ends_.from, ends_.to, collected_bytes_.load(std::memory_order_relaxed),
          distributed_bytes_.load(std::memory_order_relaxed)};
}

}  // namespace mariana
