#include "common/comm/remote_link.h"

#include <glog/logging.h>

#include "common/comm/wire.h"

namespace mariana {
namespace {

float ScaleOf(Phase phase) { return phase == Phase::kCollect ? kGradientScale : kValueScale; }

}  // namespace

char* BufferPool::Take(int64_t bytes, Device* device) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < free_.size(); ++i) {
    char* const buffer = free_[i];
    if (buffers_.at(buffer).bytes < bytes) continue;
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
    return buffer;
  }
  std::shared_ptr<char> memory(device != nullptr
                                   ? device->HostBuffer(bytes)
                                   : std::shared_ptr<char>(new char[static_cast<size_t>(bytes)],
                                                           std::default_delete<char[]>()));
  char* const buffer = memory.get();
  buffers_[buffer] = {std::move(memory), bytes};
  return buffer;
}

void BufferPool::Give(char* buffer) {
  std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(buffer);
}

// ---- the sender's side

OutgoingLink::OutgoingLink(const LinkEnds& ends, const RemoteEnd& end)
    : ends_(ends), end_(end), quiet_(end.world->clock()) {}

void OutgoingLink::Publish(const LaneKey& lane, Range range) {
  const size_t phase = static_cast<size_t>(lane.phase);
  const Wire wire = end_.wires[phase];
  const int64_t bytes = range.size() * BytesOf(wire);
  const float* const arena =
      lane.phase == Phase::kCollect ? ends_.sender->grads : ends_.sender->values;
  Device* const device = ends_.sender->device;
  char* buffer = nullptr;
  if (device != nullptr) {
    buffer = buffers_.Take(bytes, device);
    device->CopyToHost(arena + range.begin, reinterpret_cast<float*>(buffer), range.size());
  } else if (wire != Wire::kF32) {
    buffer = buffers_.Take(bytes);
    Pack(wire, ScaleOf(lane.phase), arena + range.begin, buffer, range.size());
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ++pending_;
  }
  bytes_[phase].fetch_add(bytes, std::memory_order_relaxed);
  const void* const data =
      buffer != nullptr ? static_cast<const void*>(buffer) : arena + range.begin;
  end_.world->Post(end_.peer_rank,
                   end_.link * end_.channels.per_link() + end_.channels.OfLane(lane), data, bytes,
                   [this, buffer] { Sent(buffer); });
}

void OutgoingLink::Sent(char* buffer) {
  if (buffer != nullptr) buffers_.Give(buffer);
  std::lock_guard<std::mutex> lock(mutex_);  // held to the end: Drain may free this object
  if (--pending_ == 0) quiet_.NotifyAll();
}

void OutgoingLink::Drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  quiet_.Wait(&lock, [&] { return pending_ == 0 || end_.world->failed(); });
}

void OutgoingLink::Wake() {
  std::lock_guard<std::mutex> lock(mutex_);
  quiet_.NotifyAll();
}

void OutgoingLink::Receive(const LaneKey&, const Step&, std::function<void()>) {
  LOG(FATAL) << "worker " << ends_.to << " receives in another process";
}

LinkBytes OutgoingLink::bytes() const { return {ends_.from, ends_.to, bytes_[0], bytes_[1]}; }

// ---- the receiver's side

void IncomingLink::Arrived(std::shared_ptr<BulkMessage> message) {
  const LaneKey lane = end_.channels.LaneOf(message->channel());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    messages_[end_.channels.OfLane(lane)].push_back(std::move(message));
  }
  ends_.arrivals->Arrived(lane, ends_.from);
}

void IncomingLink::Receive(const LaneKey& lane, const Step& step, std::function<void()> done) {
  const int channel = end_.channels.OfLane(lane);
  std::shared_ptr<BulkMessage> message;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto& messages = messages_[channel];
    CHECK(!messages.empty()) << "nothing has arrived from worker " << ends_.from;
    message = std::move(messages.front());
    messages.pop_front();
  }
  CHECK_EQ(message->bytes(), step.bytes()) << "from worker " << ends_.from;
  bytes_[static_cast<size_t>(lane.phase)].fetch_add(step.bytes(), std::memory_order_relaxed);
  void* into = ends_.receiver->values + step.range.begin;
  Device* const device = ends_.receiver->device;
  if (device != nullptr || step.kind == Step::Kind::kAdd || step.wire != Wire::kF32) {
    into = landing_[channel] = buffers_.Take(step.bytes(), device);
  }
  BulkMessage* const m = message.get();
  m->Take(into, [message = std::move(message), done = std::move(done)] { done(); });
}

void IncomingLink::Land(const LaneKey& lane, const Step& step) {
  const auto landed = landing_.find(end_.channels.OfLane(lane));
  if (landed == landing_.end() || landed->second == nullptr) return;
  const Range r = step.range;
  if (Device* const device = ends_.receiver->device; device != nullptr) {
    const auto* from = reinterpret_cast<const float*>(landed->second);
    if (step.kind == Step::Kind::kAdd) {
      device->AddFromHost(from, ends_.receiver->grads + r.begin, r.size());
    } else {
      device->CopyFromHost(from, ends_.receiver->values + r.begin, r.size());
    }
  } else if (step.kind == Step::Kind::kAdd) {
    AddUnpacked(step.wire, ScaleOf(lane.phase), landed->second, ends_.receiver->grads + r.begin,
                r.size());
  } else {
    Unpack(step.wire, ScaleOf(lane.phase), landed->second, ends_.receiver->values + r.begin,
           r.size());
  }
  buffers_.Give(landed->second);
  landed->second = nullptr;
}

void IncomingLink::Publish(const LaneKey&, Range) {
  LOG(FATAL) << "worker " << ends_.from << " publishes in another process";
}

LinkBytes IncomingLink::bytes() const { return {ends_.from, ends_.to, bytes_[0], bytes_[1]}; }

}  // namespace mariana
