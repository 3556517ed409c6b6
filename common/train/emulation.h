// Emulate: some steps of DataParallel on a described machine, in virtual time (common/device/
// emulated): what the trainer, the exchange and the upload of batches would do there, and how long
// it would take. Values are meaningless, batches are empty and always ready: the stages of the
// pipeline before the upload are taken to keep up.
//
// Deterministic to the nanosecond; takes no time of its own beyond what the host needs to think.
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/machine/machine.h"
#include "common/train/data_parallel.h"
#include "common/train/exchange_bound.h"

namespace mariana {

struct EmulationOptions {
  const Machine* machine = nullptr;
  int devices = 1;              // the machine's first so many, one worker each
  DataParallelOptions workers;  // devices, clock and links are the emulation's own
  int64_t warm_up = 2;          // steps that do not count; of exchange: block, a block
  int64_t steps = 3;            // that do; likewise
  bool trace = false;
  bool profile = false;  // adds waits of the host
};

// Of one direction of a link of the machine.
struct LinkUse {
  std::string name;
  double bytes = 0;  // a step
  double share = 0;  // of what it could carry
};

struct Emulation {
  int devices = 0;
  int64_t batch_size = 0;
  double step_seconds = 0;
  double compute_seconds = 0;                   // of a step: kernels of the busiest device
  int64_t memory_bytes = 0;                     // the most that a device held
  std::vector<LinkUse> links;                   // that carried anything, in the machine's order
  std::string chrome_trace;                     // of the steps that count
  double norm_seconds = 0, update_seconds = 0;  // of what the first worker owns
  std::vector<std::pair<double, double>> ops;   // profiled: seconds forward and backward, by op
  std::vector<Range> buckets;
  std::vector<int> first_op;  // by bucket: the first whose parameters it holds

  double samples_per_second() const { return static_cast<double>(batch_size) / step_seconds; }
  // Of a step: no kernel runs on the busiest device. What is not hidden behind computing.
  double exposed_seconds() const { return step_seconds - compute_seconds; }
};

// Throws Error(kUsage) where the machine has fewer devices.
void CheckDevices(const Machine& machine, int64_t devices);

// Throws as CheckDevices, and Error(kIo) where the job does not fit into a device's memory.
Emulation Emulate(const EmulationOptions& options);

// Seconds that no order of copies can beat: `all` devices on links of which each carries its bytes
// at full speed from the moment that they are there, with no latency and no launches. Gradients of
// a bucket are there when backward has passed its first op, values when their owners have updated
// them; and they must arrive before that op's forward. The ops' times are of one device with the
// same share of samples; norm and update are shared out.
double StepBound(const EmulationOptions& options, const Emulation& all);

// Text for people: throughput, speed-up against one device, exposed communication, memory, links.
std::string FormatEmulation(const Machine& machine, const Emulation& all, const Emulation& one,
                            const std::string& unit);

}  // namespace mariana
