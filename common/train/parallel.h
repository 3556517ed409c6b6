// ParallelSpec: the `parallel:` section, and the devices and topology that follow from it and
// --device. Free functions; thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/comm/exchange.h"
#include "common/config/fields.h"
#include "common/device/device.h"
#include "common/nn/split_plan.h"
#include "common/train/ranks.h"

namespace mariana {

enum class TopologyChoice { kAuto, kLinear, kRing, kTwoLevel };

enum class ExchangeChoice { kEveryStep, kBlock };

struct ParallelSpec {
  int64_t devices = 1;
  int64_t groups = 0, split = 1;  // devices of all ranks = groups * split
  std::vector<SplitChoice> layers;
  int64_t device_memory = 0;
  int64_t threads = 0;
  TopologyChoice topology = TopologyChoice::kAuto;
  int64_t bucket_bytes = 0;
  Wire wire = Wire::kF32;
  bool overlap = true;
  ExchangeChoice exchange = ExchangeChoice::kEveryStep;
  int64_t block_steps = 16;
  double block_momentum = 0;
  bool block_nesterov = false;
  void Describe(Fields* f);
  void DescribeSplit(Fields* f);
  // Sets `devices`, if they are not given, to this process's share of groups * split. Throws
  // Error(kUsage) where they do not fit together.
  void ShareOut(int ranks);
  SplitSpec split_spec() const { return {static_cast<int>(split), layers}; }
  // The part of it that changes what is learned, and that --resume must find unchanged.
  void DescribeLearning(Fields* f);
};

// kFp32: products on GPUs in TF32, as is usual there; kFp32Strict: in full precision.
enum class Precision { kFp32, kFp32Strict, kBf16 };

// One device a worker of this rank; ranks on one machine share its cores. `choice` is --device;
// auto takes GPUs where there are some, dealt out in turn, else CPUs, and says in *why, one line,
// why not GPUs. Throws Error(kUsage) for a device that is not there, and for bf16 on a CPU whose
// instruction set lacks it.
std::vector<std::unique_ptr<Device>> MakeDevices(const std::string& choice,
                                                 const ParallelSpec& spec, Precision precision,
                                                 const Ranks* ranks = nullptr,
                                                 std::string* why = nullptr);

// The one device, with all its threads, that the verbs besides train compute on.
std::unique_ptr<Device> InferenceDevice(const std::string& choice, const ParallelSpec& spec);

// The topology that the config names, and so in *why; nothing for auto.
std::optional<Topology> NamedTopology(const ParallelSpec& spec, std::string* why);

// The topology to use and, in *why, one line that says why. Throws Error(kUsage) where the ranks
// cannot be joined as the config asks.
Topology ChooseTopology(const ParallelSpec& spec, const Ranks& ranks, std::string* why);

// Of workers on `devices` devices of each rank.
Wiring WireUp(Topology topology, int devices, const Ranks& ranks);

}  // namespace mariana
