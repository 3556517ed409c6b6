// DeviceLink: two workers of one process on devices with memory of their own. Publishing moves
// nothing; the receiver's device adds from, or copies out of, the sender's memory (Device's
// ReceiveAdd and ReceiveCopy: a peer copy on a stream beside the compute stream).
//
// Work on such a device is queued, so a range that is complete in the trainer's program need not
// be in memory yet: QueuedExchange, which goes before, waits for that.
#pragma once

#include <atomic>

#include "common/comm/link.h"
#include "common/device/device.h"

namespace mariana {

class DeviceLink : public Link {
 public:
  // All in this process; fp32 alone travels.
  explicit DeviceLink(const LinkEnds& ends) : ends_(ends) {}
  void Publish(const LaneKey& lane, Range range) override;
  void Receive(const LaneKey& lane, const Step& step, std::function<void()> done) override;
  LinkBytes bytes() const override;

 private:
  const LinkEnds ends_;
  std::atomic<int64_t> collected_bytes_{0}, distributed_bytes_{0};
};

}  // namespace mariana
