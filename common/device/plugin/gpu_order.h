// How near the GPUs of a machine are to each other, and the order in which workers take them: those
// that follow one another in the chain of the exchange, or share a model, should be neighbours. A
// link is NVLink, a PCIe switch, a root complex, or the way between sockets (or NUMA nodes).
//
// Sources: the driver tells NVLink, /sys/bus/pci/devices the rest. Free functions; thread-safe.
#pragma once

#include <string>
#include <vector>

namespace mariana {

// What the driver says of a GPU, beside others by their number.
struct GpuPlace {
  std::string bus;           // its PCI address, "0000:3B:00.0"
  std::vector<bool> reads;   // whether its kernels read the other's memory
  std::vector<bool> nvlink;  // whether NVLink joins them
};

// From near to far. kUnknown: what lies between cannot be read.
enum class GpuLink { kNvlink, kSwitch, kRoot, kSocket, kBetweenSockets, kUnknown };
const char* Name(GpuLink link);

// link[a][b]; `devices` has a link into the PCI tree and a file numa_node for each address.
std::vector<std::vector<GpuLink>> LinksOfGpus(const std::vector<GpuPlace>& gpus,
                                              const std::string& devices = "/sys/bus/pci/devices");

// All GPUs, each near the one before: the chain whose links are the nearest in all, the first in
// order of numbers among equals. Best of all chains up to 12 GPUs, nearest next beyond.
std::vector<int> ChainOfGpus(const std::vector<std::vector<GpuLink>>& links);

}  // namespace mariana
