#include "common/device/emulated/stream.h"

#include "common/base/error.h"

namespace mariana {
namespace {

int64_t Ns(double us) { return static_cast<int64_t>(std::llround(us * 1e3)); }

std::string GroupOf(int device, const Machine& machine) {
  if (machine.nodes == 1) return StrCat("gpu", device);
  return StrCat("node", machine.node_of(device), " gpu", device % machine.devices);
}

}  // namespace

Streams::Streams(int device, const Machine& machine, Fabric* fabric)
    : spec_(machine.device),
      fabric_(fabric),
      clock_(fabric->clock()),
      compute_track_(fabric->timeline()->AddTrack(GroupOf(device, machine), "compute")),
      exchange_track_(fabric->timeline()->AddTrack(GroupOf(device, machine), "exchange")) {}

int64_t Streams::TimeOf(const Kernel& kernel) const {
  double ns = static_cast<double>(kernel.bytes) / spec_.memory_gb_per_second;
  if (kernel.precision != nullptr && kernel.flops > 0) {
    const PrecisionSpec& p = *kernel.precision;
    const double share = (p.*kernel.curve).At(kernel.flops);
    ns = std::max(ns, kernel.flops / (p.tflops * 1e3 * share));
  }
  return Ns(spec_.kernel_us) + static_cast<int64_t>(std::llround(ns));
}

void Streams::SleepUntil(int64_t ns) { clock_->SleepFor(ns - clock_->NowNs()); }

void Streams::Run(const std::string& what, const Kernel& kernel) {
  host_ns_ += Ns(spec_.launch_us);
  const int64_t begin = std::max(clock_->NowNs(), host_ns_);
  int64_t end = begin + TimeOf(kernel);
  if (!spec_.exchange_computes) {
    SleepUntil(end);
  } else {
    SleepUntil(begin);
    std::unique_lock<std::mutex> lock(mutex_);
    computing_ = true;
    while (clock_->NowNs() < end) {
      lock.unlock();
      SleepUntil(end);
      lock.lock();
      end += std::exchange(taken_ns_, 0);
    }
    computing_ = false;
  }
  fabric_->timeline()->Add(compute_track_, what, begin, end);
}

void Streams::HostWaits() { host_ns_ = clock_->NowNs() + Ns(spec_.sync_us); }

int64_t Streams::QueueCopy() {
  std::lock_guard<std::mutex> lock(mutex_);
  exchange_host_ns_ = std::max(exchange_host_ns_, clock_->NowNs()) + Ns(spec_.launch_us);
  return exchange_host_ns_;
}

void Streams::Exchange(const std::string& what, int64_t bytes, std::function<void()> done) {
  int64_t begin, end;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    begin = std::max(clock_->NowNs() + Ns(spec_.launch_us), exchange_free_ns_);
    end = begin + TimeOf({0, bytes});
    exchange_free_ns_ = end;
    if (computing_) taken_ns_ += end - begin;
  }
  fabric_->timeline()->Add(exchange_track_, what, begin, end);
  fabric_->At(end, std::move(done));
}

}  // namespace mariana
