// Streams: the virtual time that the kernels of one device take, on its compute stream and on the
// exchange's.
//
// Threading: Run and HostWaits belong to the thread that computes on the device; Exchange may come
// from any.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "common/device/emulated/fabric.h"

namespace mariana {

class Streams {
 public:
  Streams(int device, const Machine& machine, Fabric* fabric);

  // What one kernel does.
  struct Kernel {
    double flops = 0;
    int64_t bytes = 0;                         // read and written
    const PrecisionSpec* precision = nullptr;  // null: arithmetic does not count
    EfficiencySpec PrecisionSpec::*curve = nullptr;
  };
  // Returns when the kernel has ended.
  void Run(const std::string& what, const Kernel& kernel);
  // The host wants what the last kernel gave.
  void HostWaits();
  // When the exchange's host thread, which queues copies one by one, has queued one more.
  int64_t QueueCopy();
  void Exchange(const std::string& what, int64_t bytes, std::function<void()> done);
  int64_t busy_ns() const { return fabric_->timeline()->BusyNs(compute_track_); }

 private:
  int64_t TimeOf(const Kernel& kernel) const;
  void SleepUntil(int64_t ns);

  const DeviceSpec& spec_;
  Fabric* const fabric_;
  Clock* const clock_;
  const int compute_track_, exchange_track_;
  int64_t host_ns_ = 0;  // the host's thread has queued all up to here by then
  std::mutex mutex_;     // guards what follows
  int64_t exchange_host_ns_ = 0, exchange_free_ns_ = 0;
  bool computing_ = false;
  int64_t taken_ns_ = 0;  // by the exchange, from the kernel that runs
};

}  // namespace mariana
