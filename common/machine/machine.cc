#include "common/machine/machine.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/machine/routes.h"

namespace mariana {

void EfficiencySpec::Describe(Fields* f) {
  f->RealList("gflop", &gflop, "Sizes of kernels, ascending.", Rule().Above(0));
  f->RealList("share", &share, "What kernels of these sizes reach of the peak.",
              Rule().Above(0).Max(1));
  f->Require(gflop.size() == share.size() && std::is_sorted(gflop.begin(), gflop.end()), "share",
             "needs one number for each of `gflop`, which ascend");
}

double EfficiencySpec::At(double flops) const {
  if (gflop.empty()) return 1;
  const double x = flops * 1e-9;
  const auto above = std::lower_bound(gflop.begin(), gflop.end(), x);
  if (above == gflop.begin()) return share.front();
  if (above == gflop.end()) return share.back();
  const auto i = static_cast<size_t>(above - gflop.begin());
  const double t = std::log(x / gflop[i - 1]) / std::log(gflop[i] / gflop[i - 1]);
  return share[i - 1] + t * (share[i] - share[i - 1]);
}

void PrecisionSpec::Describe(Fields* f) {
  f->Real("tflops", &tflops, "Peak, TFLOP/s; 0: the device has no such arithmetic.", Rule().Min(0));
  f->Section("linear", &linear,
             "Matrix products: the share of the peak by size; all of it if none.");
  f->Section("convolution", &convolution, "Convolutions likewise.");
}

void DeviceSpec::Describe(Fields* f) {
  f->Text("name", &name, "What it is called.", Rule().Required());
  f->Bytes("memory", &memory_bytes, "That a program can have.", Rule().Min(1).Required());
  f->Real("memory_gb_per_second", &memory_gb_per_second, "That kernels reach.",
          Rule().Above(0).Required());
  f->Section("fp32", &fp32, "What `train.precision: fp32` computes with.");
  f->Section("bf16", &bf16, "What `train.precision: bf16` computes with.");
  f->Require(fp32.tflops > 0, "fp32", "tflops: is needed");
  f->Real("kernel_us", &kernel_us, "The least that a kernel takes, microseconds.", Rule().Min(0));
  f->Real("launch_us", &launch_us,
          "Time of the host's thread to queue a kernel or a copy, microseconds; it runs ahead of "
          "the device.",
          Rule().Min(0));
  f->Real("sync_us", &sync_us,
          "From the end of a kernel until the host's thread that waits for it goes on, "
          "microseconds.",
          Rule().Min(0));
  f->Bool("exchange_computes", &exchange_computes,
          "Whether sums and copies of the exchange take the time of kernels (a CPU's cores), or "
          "run beside them.");
}

void LinkSpec::Describe(Fields* f) {
  f->Text("name", &name, "What it is called: pcie, nvlink.", Rule().Required());
  f->TextList("between", &between,
              "The two parts that it joins. The first may stand for several with a link each: "
              "gpu0-3.",
              Rule().Required());
  f->Require(between.size() == 2, "between", "must be two parts, [gpu0-3, socket0]");
  f->Real("gb_per_second", &gb_per_second, "Each way, that copies reach.",
          Rule().Above(0).Required());
  f->Real("latency_us", &latency_us, "Added to every copy, microseconds.", Rule().Min(0));
}

void Machine::Describe(Fields* f) {
  f->Text("name", &name, "What it is called.", Rule().Required());
  f->Real("node_price", &node_price, "Of a node without devices, US dollars.", Rule().Min(0));
  f->Real("device_price", &device_price, "Of a device, US dollars; 0: not known.", Rule().Min(0));
  f->Real("node_watts", &node_watts, "Of a node without devices, under load.", Rule().Min(0));
  f->Real("device_watts", &device_watts, "Of a device under load; 0: not known.", Rule().Min(0));
  f->Int("nodes", &nodes, "Nodes, all alike.", Rule().Min(1).Max(1024));
  f->Int("devices", &devices, "Devices of a node: its parts gpu0, gpu1, ...",
         Rule().Min(1).Max(64));
  f->Section("device", &device, "What each device can do.");
  f->TextList("host_memory", &host_memory,
              "Parts that hold the host's memory; a device uploads from the nearest.",
              Rule().Required());
  f->TextList("network", &network, "Parts that all nodes share.");
  f->List("links", &links, "What joins the parts of a node, and nodes to the network.");
  const std::string mistake = RoutesMistake(*this);
  f->Require(mistake.empty(), "links", mistake);
}

double Machine::PriceOf(int n) const {
  return device_price > 0 ? (node_of(n - 1) + 1) * node_price + n * device_price : 0;
}

double Machine::WattsOf(int n) const {
  return device_watts > 0 ? (node_of(n - 1) + 1) * node_watts + n * device_watts : 0;
}

Machine ReadMachine(const std::string& path) {
  Machine machine;
  LoadConfig({path, {}}, [&machine](Fields* f) { machine.Describe(f); });
  return machine;
}

}  // namespace mariana
