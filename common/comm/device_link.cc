#include "common/comm/device_link.h"

#include <glog/logging.h>

namespace mariana {

void DeviceLink::Publish(const LaneKey& lane, Range) { ends_.arrivals->Arrived(lane, ends_.from); }

void DeviceLink::Receive(const LaneKey&, const Step& step, std::function<void()> done) {
  CHECK(step.wire == Wire::kF32) << Name(step.wire);
  const Range r = step.range;
  Device* const from = ends_.sender->device;
  Device* const to = ends_.receiver->device;
  if (step.kind == Step::Kind::kAdd) {
    to->ReceiveAdd(from, ends_.sender->grads + r.begin, ends_.receiver->grads + r.begin, r.size());
    collected_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  } else {
    to->ReceiveCopy(from, ends_.sender->values + r.begin, ends_.receiver->values + r.begin,
                    r.size());
    distributed_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  }
  done();
}

LinkBytes DeviceLink::bytes() const {
  return {ends_.from, ends_.to, collected_bytes_.load(std::memory_order_relaxed),
          distributed_bytes_.load(std::memory_order_relaxed)};
}

}  // namespace mariana
