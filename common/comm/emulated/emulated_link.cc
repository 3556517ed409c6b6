#include "common/comm/emulated/emulated_link.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kF32 = 4;  // bytes

}  // namespace

EmulatedLink::EmulatedLink(const LinkEnds& ends, EmulatedDevice* from, EmulatedDevice* to,
                           Wire collect, Wire distribute)
    : ends_(ends),
      from_(from),
      to_(to),
      collect_(collect),
      distribute_(distribute),
      route_(from->fabric()->routes().BetweenDevices(from->index(), to->index())),
      ended_(from->fabric()->clock()) {
  bytes_.from = ends.from;
  bytes_.to = ends.to;
}

EmulatedLink::~EmulatedLink() {
  std::unique_lock<std::mutex> lock(mutex_);
  ended_.Wait(&lock, [this] { return under_way_ == 0; });
}

void EmulatedLink::Begin() {
  std::lock_guard<std::mutex> lock(mutex_);
  ++under_way_;
}

void EmulatedLink::End() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (--under_way_ == 0) ended_.NotifyAll();
}

// What travels narrower is first written so, beside the arena.
void EmulatedLink::Publish(const LaneKey& lane, Range range) {
  const Wire wire = lane.phase == Phase::kCollect ? collect_ : distribute_;
  if (wire == Wire::kF32) {
    ends_.arrivals->Arrived(lane, ends_.from);
    return;
  }
  Begin();
  from_->ExchangeKernel("pack", range.size() * (kF32 + BytesOf(wire)), [this, lane] {
    ends_.arrivals->Arrived(lane, ends_.from);
    End();
  });
}

void EmulatedLink::Receive(const LaneKey& lane, const Step& step, std::function<void()> done) {
  const auto latency = static_cast<int64_t>(std::llround(route_.latency_ns));
  const bool sum = step.kind == Step::Kind::kAdd;
  Copy copy;
  copy.bytes = step.bytes();
  copy.ready_ns = to_->QueueCopy() + latency;
  copy.what = StrCat(sum ? "sums" : "values", " of bucket ", lane.bucket, ", slice ", lane.slice);
  copy.done = [this, step, done = std::move(done)] {
    Arrive(step, [this, done] {
      done();
      End();
    });
  };
  Begin();
  std::unique_lock<std::mutex> lock(mutex_);
  (sum ? bytes_.collect : bytes_.distribute) += copy.bytes;
  waiting_.push_back(std::move(copy));
  if (copying_) return;
  copying_ = true;
  lock.unlock();
  StartNext();
}

void EmulatedLink::StartNext() {
  Copy copy;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.empty()) {
      copying_ = false;
      return;
    }
    copy = std::move(waiting_.front());
    waiting_.pop_front();
  }
  Fabric* const fabric = to_->fabric();
  const int64_t start = std::max(copy.ready_ns, fabric->clock()->NowNs());
  fabric->Copy(route_, copy.bytes, start, copy.what, [this, done = std::move(copy.done)] {
    StartNext();
    done();
  });
}

// fp32 values are where they belong; all else passes through a kernel.
void EmulatedLink::Arrive(const Step& step, const std::function<void()>& done) {
  const int64_t n = step.range.size();
  if (step.kind == Step::Kind::kAdd) {
    to_->ExchangeKernel("add", n * (BytesOf(step.wire) + 2 * kF32), done);
  } else if (step.wire != Wire::kF32) {
    to_->ExchangeKernel("unpack", n * (BytesOf(step.wire) + kF32), done);
  } else if (to_->machine().device.exchange_computes) {
    to_->ExchangeKernel("copy", n * 2 * kF32, done);
  } else {
    done();
  }
}

LinkBytes EmulatedLink::bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}

}  // namespace mariana
