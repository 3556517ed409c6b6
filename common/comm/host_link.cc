#include "common/comm/host_link.h"

#include <cstring>

#include "common/comm/wire.h"

namespace mariana {

void HostLink::Publish(const LaneKey& lane, Range) { ends_.arrivals->Arrived(lane, ends_.from); }

void HostLink::Receive(const LaneKey&, const Step& step, std::function<void()> done) {
  const Range r = step.range;
  if (step.kind == Step::Kind::kAdd) {
    AddRounded(step.wire, kGradientScale, ends_.sender->grads + r.begin,
               ends_.receiver->grads + r.begin, r.size());
    collected_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  } else {  // the owner has rounded
    std::memcpy(ends_.receiver->values + r.begin, ends_.sender->values + r.begin,
                static_cast<size_t>(r.size()) * sizeof(float));
    distributed_bytes_.fetch_add(step.bytes(), std::memory_order_relaxed);
  }
  done();
}

LinkBytes HostLink::bytes() const {
  return {ends_.from, ends_.to, collected_bytes_.load(std::memory_order_relaxed),
          distributed_bytes_.load(std::memory_order_relaxed)};
}

}  // namespace mariana
