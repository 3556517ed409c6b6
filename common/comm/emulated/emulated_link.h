// EmulatedLink: two workers on emulated devices. Nothing moves but time: a range goes over the
// links of the machine between the two devices, one after the other, as on a stream of its own that
// the receiver's host thread queues copies on; sums, and conversions of a narrower wire type, run
// on the devices' exchange streams.
#pragma once

#include <deque>
#include <mutex>

#include "common/comm/link.h"
#include "common/device/emulated/emulated_device.h"

namespace mariana {

class EmulatedLink : public Link {
 public:
  // The devices of `ends.from` and `ends.to`; they outlive it. Gradients go over in the wire type
  // `collect`, values in `distribute`.
  EmulatedLink(const LinkEnds& ends, EmulatedDevice* from, EmulatedDevice* to, Wire collect,
               Wire distribute);
  ~EmulatedLink() override;  // waits for what is under way
  void Publish(const LaneKey& lane, Range range) override;
  void Receive(const LaneKey& lane, const Step& step, std::function<void()> done) override;
  LinkBytes bytes() const override;

 private:
  struct Copy {
    int64_t bytes;
    int64_t ready_ns;  // queued, and the latency has passed
    std::string what;
    std::function<void()> done;
  };
  void Begin();
  void End();
  void StartNext();
  void Arrive(const Step& step, const std::function<void()>& done);

  const LinkEnds ends_;
  EmulatedDevice* const from_;
  EmulatedDevice* const to_;
  const Wire collect_, distribute_;
  const Route route_;
  mutable std::mutex mutex_;  // guards what follows
  std::deque<Copy> waiting_;
  bool copying_ = false;
  int under_way_ = 0;  // ranges, to be published or received
  CondVar ended_;
  LinkBytes bytes_;
};

}  // namespace mariana
