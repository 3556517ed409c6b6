#include "common/train/parallel.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/device/plugin/plugin.h"

namespace mariana {

void ParallelSpec::Describe(Fields* f) {
  f->Int("devices", &devices, "Workers, one device each, of each process that mpirun starts.",
         Rule().Min(1).Max(64));
  DescribeSplit(f);
  f->Int("threads", &threads, "Threads of a CPU device; 0: cores / devices, at least 1.",
         Rule().Min(0).Max(1024));
  f->Choice(
      "topology", &topology,
      {{"auto", TopologyChoice::kAuto},
       {"linear", TopologyChoice::kLinear},
       {"ring", TopologyChoice::kRing},
       {"two_level", TopologyChoice::kTwoLevel}},
      "How parameters travel: the partitioned linear topology, a ring, or a chain within each "
      "machine and a ring between machines.");
  f->Bytes(
      "bucket_bytes", &bucket_bytes,
      "Gradients are exchanged in pieces of at least this; 0: by the speed of the links, which "
      "--check tells.",
      Rule().Min(0));
  f->Bool("overlap", &overlap,
          "Exchange while computing: gradients during backward, values during the next forward; "
          "false: between the two, as the seed did (to compare).");
  DescribeLearning(f);
}

void ParallelSpec::DescribeSplit(Fields* f) {
  f->Int("groups", &groups, "Groups of workers that share a model; 0: devices / split.",
         Rule().Min(0).Max(64));
  f->Int("split", &split, "Workers of a group: each has a part of the model. Sets `devices`.",
         Rule().Min(1).Max(64));
  f->List("layers", &layers, "How layers are split, where it is not to be chosen.");
  f->Bytes("device_memory", &device_memory,
           "Memory of a device: what needs more is refused, with the split that fits; 0: no limit.",
           Rule().Min(0));
}

void ParallelSpec::ShareOut(int ranks) {
  const int64_t all = std::max<int64_t>(groups, 1) * split;
  const std::string over = ranks > 1 ? StrCat(" of ", ranks, " processes") : "";
  if (devices == 1 && (groups > 0 || ranks == 1)) {
    if (all % ranks != 0) {
      throw Fail(ExitCode::kUsage, "parallel: groups * split = ", all, " workers cannot be dealt ",
                 "out evenly to ", ranks, " processes");
    }
    devices = all / ranks;
  }
  if (groups > 0 && devices * ranks != all) {
    throw Fail(ExitCode::kUsage, "parallel.devices: ", devices, over,
               ", but groups * split = ", all);
  }
  if (devices * ranks % split != 0) {
    throw Fail(ExitCode::kUsage, "parallel.split: ", split, " does not divide the ",
               devices * ranks, " devices", over);
  }
}

void ParallelSpec::DescribeLearning(Fields* f) {
  f->Choice("wire", &wire, {{"fp32", Wire::kF32}, {"bf16", Wire::kBf16}, {"fp16", Wire::kF16}},
            "What gradients and values travel as between workers: fp32, or half the bytes. Sums "
            "are added in fp32, owners keep fp32 values, all compute with the rounded ones.");
  f->Choice("exchange", &exchange,
            {{"every_step", ExchangeChoice::kEveryStep}, {"block", ExchangeChoice::kBlock}},
            "Workers are one in every step, or each goes on by itself for a block of steps, after "
            "which they are averaged: for slow links.");
  f->Int("block_steps", &block_steps, "Of exchange: block.", Rule().Min(1).Max(1000000));
  f->Real("block_momentum", &block_momentum,
          "Of exchange: block; 0: local SGD, else blockwise model-update filtering, where 1 - 1 / "
          "workers is usual.",
          Rule().Min(0).Max(0.99));
  f->Bool("block_nesterov", &block_nesterov, "Of exchange: block: Nesterov's form of it.");
}

namespace {

// Workers that share a model read each other's memory.
void CheckReads(const std::vector<GpuPlace>& places, const std::vector<int>& gpu_of,
                const ParallelSpec& spec) {
  const auto split = static_cast<size_t>(spec.split);
  for (size_t w = 0; w < gpu_of.size(); ++w) {
    for (size_t v = w / split * split; v < std::min(gpu_of.size(), w / split * split + split);
         ++v) {
      if (places[static_cast<size_t>(gpu_of[w])].reads[static_cast<size_t>(gpu_of[v])]) continue;
      throw Fail(ExitCode::kUsage, "parallel.split: workers ", v, " and ", w,
                 " share a model, but GPU ", gpu_of[w], " cannot read the memory of GPU ",
                 gpu_of[v], ": use GPUs that can (CUDA_VISIBLE_DEVICES), or split: 1");
    }
  }
}

// Processes of one machine that see the same GPUs share them out.
struct GpuShare {
  int64_t first = 0;  // worker of this process, among `workers` of all that see these GPUs
  int64_t workers = 0;
};

// On all ranks. Nothing, and why, where one of them has no GPU.
std::optional<GpuShare> ShareGpus(const std::vector<GpuPlace>& places, int64_t devices,
                                  const Ranks* ranks, std::string* why) {
  if (ranks == nullptr || ranks->size() == 1) {
    if (places.empty()) return std::nullopt;
    return GpuShare{0, devices};
  }
  std::string mine = places.empty() ? StrCat("-", *why) : StrCat("+", ranks->world()->node());
  for (const GpuPlace& place : places) mine += " " + place.bus;
  GpuShare share;
  const std::vector<std::string> all = ranks->world()->Gather(mine);
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r][0] == '-') {
      *why = StrCat("rank ", r, ": ", all[r].substr(1));
      return std::nullopt;
    }
    if (all[r] != mine) continue;
    if (static_cast<int>(r) < ranks->rank()) share.first += devices;
    share.workers += devices;
  }
  return share;
}

// In an order in which neighbours are near; workers beyond the number of GPUs share them. None, and
// why, where there are none.
std::vector<std::unique_ptr<Device>> MakeCudaDevices(const ParallelSpec& spec, Precision precision,
                                                     const Ranks* ranks, std::string* why) {
  std::vector<std::unique_ptr<Device>> devices;
  const int gpus = UsableCudaDevices(why);
  std::vector<GpuPlace> places = gpus > 0 ? PlacesOfCudaDevices(gpus) : std::vector<GpuPlace>{};
  const std::optional<GpuShare> share = ShareGpus(places, spec.devices, ranks, why);
  if (!share) return devices;
  places.resize(static_cast<size_t>(std::min<int64_t>(gpus, share->workers)));
  const std::vector<int> chain = ChainOfGpus(LinksOfGpus(places));
  std::vector<int> gpu_of;
  for (int64_t i = share->first; i < share->first + spec.devices; ++i) {
    const int64_t at = i * static_cast<int64_t>(chain.size()) / share->workers;
    gpu_of.push_back(chain[static_cast<size_t>(at)]);
  }
  CheckReads(places, gpu_of, spec);
  for (const int gpu : gpu_of) {
    devices.push_back(OpenCudaDevice(gpu, precision == Precision::kFp32Strict));
  }
  return devices;
}

}  // namespace

std::vector<std::unique_ptr<Device>> MakeDevices(const std::string& choice,
                                                 const ParallelSpec& spec, Precision precision,
                                                 const Ranks* ranks, std::string* why) {
  if (choice.rfind("emulated", 0) == 0) {
    throw Fail(ExitCode::kUsage, "--device=", choice, ": is for train (without --check) alone");
  }
  if (choice != "cpu" && choice != "auto" && choice != "cuda") {
    throw Fail(ExitCode::kUsage, "--device=", choice,
               ": not one of auto, cpu, cuda, emulated:FILE");
  }
  if (choice != "cpu") {
    std::string reason;
    std::vector<std::unique_ptr<Device>> gpus = MakeCudaDevices(spec, precision, ranks, &reason);
    if (!gpus.empty()) return gpus;
    if (choice == "cuda") throw Fail(ExitCode::kUsage, "--device=cuda: ", reason);
    if (why != nullptr) *why = "no GPU: " + reason;
  }
  if (precision == Precision::kBf16 && !CpuHasNativeBf16()) {
    throw Fail(ExitCode::kUsage,
               "train.precision: bf16 needs a CPU with AVX512_BF16 (or AMX), which this one is "
               "not; use fp32");
  }
  const int n = static_cast<int>(spec.devices);
  const int sharers = n * (ranks ? ranks->core_sharers() : 1);
  const int threads =
      spec.threads > 0 ? static_cast<int>(spec.threads) : std::max(1, AvailableCores() / sharers);
  std::vector<std::unique_ptr<Device>> devices;
  for (int i = 0; i < n; ++i) devices.push_back(MakeCpuDevice(i, threads, -1));
  return devices;
}

std::unique_ptr<Device> InferenceDevice(const std::string& choice, const ParallelSpec& spec) {
  ParallelSpec one;
  one.threads = spec.threads;
  return std::move(MakeDevices(choice, one, Precision::kFp32)[0]);
}

std::optional<Topology> NamedTopology(const ParallelSpec& spec, std::string* why) {
  std::optional<Topology> named;
  switch (spec.topology) {
    case TopologyChoice::kLinear: named = Topology::kLinear; break;
    case TopologyChoice::kRing: named = Topology::kRing; break;
    case TopologyChoice::kTwoLevel: named = Topology::kTwoLevel; break;
    case TopologyChoice::kAuto: break;
  }
  if (named) *why = StrCat(Name(*named), ": the config says so");
  return named;
}

Topology ChooseTopology(const ParallelSpec& spec, const Ranks& ranks, std::string* why) {
  if (const auto named = NamedTopology(spec, why)) {
    if (*named == Topology::kTwoLevel && !ranks.neighbours()) {
      throw Fail(ExitCode::kUsage,
                 "parallel.topology: two_level needs the ranks of a machine one after another "
                 "(mpirun --map-by slot)");
    }
    return *named;
  }
  const auto chosen = [&](Topology topology, const std::string& reason) {
    *why = StrCat(Name(topology), ": ", reason);
    return topology;
  };
  const int machines = ranks.machines();
  const int64_t workers = spec.devices * ranks.size() / spec.split;  // of one exchange
  if (workers == 1) {
    *why = "none: one worker exchanges nothing";
    return Topology::kLinear;
  }
  if (workers == 2) return chosen(Topology::kLinear, "with two workers a ring is the same chain");
  if (machines == 1) {
    return chosen(Topology::kLinear,
                  "the devices share one memory, where a ring's last link gains nothing");
  }
  if (machines < workers && ranks.neighbours()) {
    return chosen(Topology::kTwoLevel, StrCat("several workers on each of ", machines,
                                              " machines, whose links carry each sum once"));
  }
  return chosen(Topology::kRing,
                StrCat("a worker on each of ", machines, " machines, whose links it uses alike"));
}

Wiring WireUp(Topology topology, int devices, const Ranks& ranks) {
  Wiring wiring;
  wiring.topology = topology;
  wiring.workers = devices * ranks.size();
  wiring.node_of = ranks.WorkerNodes(devices);
  return wiring;
}

}  // namespace mariana
