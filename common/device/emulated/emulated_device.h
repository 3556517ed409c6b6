// EmulatedDevice: a Device that computes nothing and stores nothing: each kernel and copy takes the
// virtual time that the described device would need for it. A kernel needs, whichever is longer,
// the time of its arithmetic at the share of the peak that its size reaches, or of the memory that
// it reads and writes (roofline; Williams et al. 2009).
//
// The trainer's thread stands where the device's compute stream is: a call returns when its kernel
// has ended. The host's thread, which on the real machine queues kernels and runs ahead, is a
// number: a kernel starts when the one before has ended and the host has queued it; where a value
// comes back to the host, the host goes on from there. So what the thread tells others (a gradient
// is final, a value is awaited) happens when it would happen on the stream.
//
// Sums and conversions of the exchange run on a stream beside the kernels, or, where the machine
// says so, take time from them.
//
// Addresses are numbers: nothing lies behind them. What comes back to the host is zero, sums of
// squares are one.
//
// Threading: as Device; Upload may come from another thread as well, and the exchange's part from
// any.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/device/device.h"
#include "common/device/emulated/fabric.h"

namespace mariana {

class EmulatedDevice : public Device {
 public:
  // What `index` is among the devices of the machine. All outlive it.
  static std::unique_ptr<EmulatedDevice> Make(int index, const Machine& machine, Fabric* fabric);

  virtual const Machine& machine() const = 0;
  virtual int index() const = 0;
  virtual Fabric* fabric() const = 0;
  virtual int64_t peak_bytes() const = 0;  // of memory
  virtual int64_t busy_ns() const = 0;     // of the compute stream, since the start
  // The exchange's host thread queues one more copy: when it has.
  virtual int64_t QueueCopy() = 0;
  // Queues work of the exchange that reads and writes `bytes`; `done` comes from the fabric's
  // thread when it has ended.
  virtual void ExchangeKernel(const std::string& what, int64_t bytes,
                              std::function<void()> done) = 0;
};

}  // namespace mariana
