// Machine: a described machine (a file of configs/machines): its devices, the links between them,
// its price and power. What the emulated device computes time from, and what `plan` chooses by.
//
// A node's parts are its devices, "gpu0" to "gpu<n-1>", and whatever else its links name (sockets,
// switches, network cards). Nodes are alike; the parts in `network` exist once and join them. A
// link carries its bandwidth each way at the same time. Data goes the way that takes the least time
// a byte when nothing else moves.
//
// Figures are what programs reach, not what data sheets promise.
//
// Threading: plain structs; const methods are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/fields.h"

namespace mariana {

// The share of the peak that a kernel reaches, by its size: straight lines between points over the
// logarithm of the size; beyond the ends, the first and the last share.
struct EfficiencySpec {
  std::vector<double> gflop;  // ascending
  std::vector<double> share;  // of the peak, one for each gflop
  void Describe(Fields* f);
  double At(double flops) const;
};

// Arithmetic in one type.
struct PrecisionSpec {
  double tflops = 0;  // peak; 0: the device has no such arithmetic
  EfficiencySpec linear, convolution;
  void Describe(Fields* f);
};

struct DeviceSpec {
  std::string name;
  int64_t memory_bytes = 0;
  double memory_gb_per_second = 0;
  PrecisionSpec fp32, bf16;
  double kernel_us = 0;  // the least that a kernel takes on the device
  double launch_us = 0;  // of the host's thread for each kernel or copy
  double sync_us = 0;    // from the end of a kernel until the host goes on that waits for it
  bool exchange_computes = false;
  void Describe(Fields* f);
};

struct LinkSpec {
  std::string name;
  std::vector<std::string> between;  // two parts; the first may be several: "gpu0-3"
  double gb_per_second = 0;
  double latency_us = 0;
  void Describe(Fields* f);
};

struct Machine {
  std::string name;
  double node_price = 0, device_price = 0;  // US dollars: a node without devices, a device
  double node_watts = 0, device_watts = 0;  // under load, likewise
  int64_t nodes = 1;
  int64_t devices = 1;  // of a node
  DeviceSpec device;
  std::vector<std::string> host_memory;  // parts that hold it: a device's own is the nearest
  std::vector<std::string> network;
  std::vector<LinkSpec> links;
  void Describe(Fields* f);

  int total_devices() const { return static_cast<int>(nodes * devices); }
  // Of the nodes that hold the first n devices, and of these; 0: not known.
  double PriceOf(int n) const;
  double WattsOf(int n) const;
  int node_of(int device) const { return device / static_cast<int>(devices); }
};

// Throws Error(kUsage) with a line for each mistake.
Machine ReadMachine(const std::string& path);

}  // namespace mariana
