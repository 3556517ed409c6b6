#include "common/comm/host_link.h"

#include <cstring>

namespace mariana {
namespace {

// y += x; the compiler vectorises it, memory bounds it.
void AddHost(const float* __restrict x, float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace

HostLink::HostLink(int from, int to, const Arenas* sender, const Arenas* receiver,
                   Arrivals* arrivals)
    : from_(from), to_(to), sender_(sender), receiver_(receiver), arrivals_(arrivals) {}

void HostLink::Publish(const LaneKey& lane, Range) { arrivals_->Arrived(lane, from_); }

void HostLink::Receive(const Step& step, std::function<void()> done) {
  const Range r = step.range;
  if (step.kind == Step::Kind::kAdd) {
    AddHost(sender_->grads + r.begin, receiver_->grads + r.begin, r.size());
    collected_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  } else {
    std::memcpy(receiver_->values + r.begin, sender_->values + r.begin, step.bytes());
    distributed_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  }
  done();
}

LinkBytes HostLink::bytes() const {
  return {from_, to_, collected_bytes_.load(std::memory_order_relaxed),
          distributed_bytes_.load(std::memory_order_relaxed)};
}

}  // namespace mariana
