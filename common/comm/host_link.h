// HostLink: two workers of one process whose arenas the host can read. Publishing moves nothing;
// the receiver adds from, or copies out of, the neighbour's memory in its progress thread. With a
// narrower wire type the numbers are rounded as if they had travelled in it. Values of arenas that
// no cache holds are written past the caches: a plain write reads the line first.
//
// It has its own loop for that rather than Device::AddF32: a device takes one caller at a time,
// and the trainer's thread is busy on it with the backward pass while sums come in.
#pragma once

#include <atomic>

#include "common/comm/link.h"

namespace mariana {

class HostLink : public Link {
 public:
  HostLink(const LinkEnds& ends, int64_t arena_bytes);
  void Publish(const LaneKey& lane, Range range) override;
  void Receive(const LaneKey& lane, const Step& step, std::function<void()> done) override;
  LinkBytes bytes() const override;

 private:
  const LinkEnds ends_;
  const bool past_caches_;
  std::atomic<int64_t> collected_bytes_{0}, distributed_bytes_{0};
};

}  // namespace mariana
