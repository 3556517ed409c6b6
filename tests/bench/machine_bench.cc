// machine_bench SECONDS [DEVICES] > FILE: a machine file (configs/machines) of this machine as CPU
// devices of one thread each, from kernel times measured here while so many devices (default 1) are
// at the same work: cores share caches, memory and clock. Matrix products (forward and both
// gradients) over sizes, and memory. By CPU time: what others do on the machine disturbs it least.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/random.h"
#include "common/device/device.h"
#include "common/tensor/tensor.h"

namespace mariana {
namespace {

double Cpu() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Median seconds of `work`, repeated for about `limit` seconds.
double Median(double limit, const std::function<void()>& work) {
  work();
  std::vector<double> seconds;
  for (const double begin = Cpu(); Cpu() - begin < limit || seconds.size() < 3;) {
    const double start = Cpu();
    work();
    seconds.push_back(Cpu() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

Tensor Uniform(Device* device, const Shape& shape) {
  RandomSequence random(1, 0);
  std::vector<float> host(static_cast<size_t>(shape.elements()));
  for (float& x : host) x = 2 * random.Uniform() - 1;
  Tensor t(device, Dtype::kF32, shape);
  t.Upload(host.data());
  return t;
}

struct Size {
  int64_t rows, in, out;
  double flops() const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  }
};

// FLOP/s of a layer's three products.
double LinearRate(Device* device, const Size& s, double limit) {
  LinearSpec spec;
  spec.max_rows = s.rows;
  spec.in = s.in;
  spec.out = s.out;
  const auto op = device->MakeLinear(spec);
  const Tensor x = Uniform(device, {s.rows, s.in}), dy = Uniform(device, {s.rows, s.out});
  const Tensor w = Uniform(device, {op->weight_elements()}), b = Uniform(device, {s.out});
  const Tensor y(device, Dtype::kF32, {s.rows, s.out}), dx(device, Dtype::kF32, {s.rows, s.in});
  const Tensor dw(device, Dtype::kF32, {op->weight_elements()}), db(device, Dtype::kF32, {s.out});
  return 3 * s.flops() / Median(limit, [&] {
           op->Forward(x.f32(), w.f32(), nullptr, b.f32(), y.f32(), s.rows);
           op->Backward(x.f32(), y.f32(), dy.f32(), w.f32(), nullptr, dx.f32(), dw.f32(), db.f32(),
                        s.rows, false);
         });
}

double MemoryRate(Device* device, double limit) {
  const int64_t n = 16 << 20;
  const Tensor x = Uniform(device, {n}), y = Uniform(device, {n});
  return 3.0 * 4 * static_cast<double>(n) /
         Median(limit, [&] { device->AddF32(x.f32(), y.f32(), n); });
}

const std::vector<Size> kSizes{{64, 128, 128},    {128, 256, 256},   {256, 440, 512},
                               {256, 512, 512},   {256, 512, 2000},  {512, 1024, 1024},
                               {512, 2048, 2048}, {1024, 2048, 2048}};

struct Rates {
  std::vector<double> products;  // FLOP/s, by kSizes
  double memory = 0;             // bytes/s
};

// `seconds` in all.
Rates Measure(Device* device, double seconds) {
  const double limit = seconds / static_cast<double>(kSizes.size() + 1);
  Rates rates;
  for (const Size& s : kSizes) rates.products.push_back(LinearRate(device, s, limit));
  rates.memory = MemoryRate(device, limit);
  return rates;
}

// Of the first of `devices`, while the others do the same.
Rates MeasureBeside(int devices, double seconds) {
  std::atomic<bool> done{false};
  std::vector<std::thread> others;
  for (int d = 1; d < devices; ++d) {
    others.emplace_back([&done, d, seconds] {
      const auto device = MakeCpuDevice(d, 1, -1);
      while (!done) Measure(device.get(), seconds);
    });
  }
  const Rates rates = Measure(MakeCpuDevice(0, 1, -1).get(), seconds);
  done = true;
  for (std::thread& t : others) t.join();
  return rates;
}

int Main(int argc, char** argv) {
  const int devices = argc == 3 ? std::atoi(argv[2]) : 1;
  if (argc < 2 || argc > 3 || devices < 1) {
    std::fprintf(stderr, "usage: machine_bench SECONDS [DEVICES] > FILE\n");
    return 64;
  }
  const Rates measured = MeasureBeside(devices, std::atof(argv[1]));
  const std::vector<double>& rates = measured.products;
  const double peak = *std::max_element(rates.begin(), rates.end());
  std::string gflop, share;
  for (size_t i = 0; i < kSizes.size(); ++i) {
    char text[32];
    std::snprintf(text, sizeof text, "%s%.4g", i ? ", " : "", kSizes[i].flops() * 1e-9);
    gflop += text;
    std::snprintf(text, sizeof text, "%s%.3f", i ? ", " : "", rates[i] / peak);
    share += text;
  }
  std::printf(
      "# Written by machine_bench: %s, a thread each.\n"
      "name: this machine\n"
      "devices: %d\n"
      "device:\n"
      "  name: CPU, one thread\n"
      "  memory: 64GB\n"
      "  memory_gb_per_second: %.2f\n"
      "  fp32:\n"
      "    tflops: %.5f\n"
      "    linear:\n"
      "      gflop: [%s]\n"
      "      share: [%s]\n"
      "  exchange_computes: true\n"
      "host_memory: [ram]\n"
      "links:\n"
      "  - {name: shared, between: [\"gpu0-%d\", ram], gb_per_second: 1000}\n",
      MakeCpuDevice(0, 1, -1)->info().name.c_str(), AvailableCores(), measured.memory * 1e-9,
      peak * 1e-12, gflop.c_str(), share.c_str(), AvailableCores() - 1);
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
