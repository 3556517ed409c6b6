#include "common/comm/device_link.h"

namespace mariana {

DeviceLink::DeviceLink(const End& from, const End& to, Arrivals* arrivals)
    : from_(from), to_(to), arrivals_(arrivals) {}

void DeviceLink::Publish(const LaneKey& lane, Range) { arrivals_->Arrived(lane, from_.worker); }

void DeviceLink::Receive(const Step& step, std::function<void()> done) {
  const Range r = step.range;
  if (step.kind == Step::Kind::kAdd) {
    to_.device->ReceiveAdd(from_.device, from_.arenas->grads + r.begin, to_.arenas->grads + r.begin,
                           r.size());
    collected_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  } else {
    to_.device->ReceiveCopy(from_.device, from_.arenas->values + r.begin,
                            to_.arenas->values + r.begin, r.size());
    distributed_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  }
  done();
}

LinkBytes DeviceLink::bytes() const {
  return {from_.worker, to_.worker, collected_bytes_.load(std::memory_order_relaxed),
          distributed_bytes_.load(std::memory_order_relaxed)};
}

}  // namespace mariana
