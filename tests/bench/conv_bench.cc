// conv_bench [THREADS] [bf16] [NAME]: the convolutions and batch normalisations of ResNet-20
// (batch 128), AlexNet (64) and ResNet-18 (32), each alone, by CPU time a thread: GFLOP/s of the
// forward pass, the gradient of the input and that of the weights; GB/s of batch normalisation,
// counting each array once per pass over it; milliseconds of max pooling. NAME: only shapes whose
// name contains it.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/device/device.h"
#include "common/tensor/tensor.h"

namespace mariana {
namespace {

double Cpu() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

// The least of some runs, seconds a thread.
template <class F>
double Best(int threads, const F& f) {
  f();
  double best = 1e9;
  const double start = Cpu();
  for (int i = 0; i < 9 && (i < 2 || Cpu() - start < 0.3 * threads); ++i) {
    const double begin = Cpu();
    f();
    best = std::min(best, (Cpu() - begin) / threads);
  }
  return best;
}

Tensor Random(Device* device, Dtype t, int64_t n) {
  RandomSequence random(1, static_cast<uint64_t>(n));
  std::vector<float> host(n);
  for (float& x : host) x = 2 * random.Uniform() - 1;
  Tensor values(device, Dtype::kF32, {n}), tensor(device, t, {n});
  values.Upload(host.data());
  device->Convert(values.data(), Dtype::kF32, tensor.data(), t, n);
  return tensor;
}

struct Case {
  const char* name;
  int64_t batch, in, size, out, kernel, stride, padding;
};
constexpr Case kCases[] = {{"resnet20 stem", 128, 3, 32, 16, 3, 1, 1},
                           {"resnet20 16", 128, 16, 32, 16, 3, 1, 1},
                           {"resnet20 16-32", 128, 16, 32, 32, 3, 2, 1},
                           {"resnet20 32", 128, 32, 16, 32, 3, 1, 1},
                           {"resnet20 32-64", 128, 32, 16, 64, 3, 2, 1},
                           {"resnet20 64", 128, 64, 8, 64, 3, 1, 1},
                           {"alexnet 1", 64, 3, 224, 64, 11, 4, 2},
                           {"alexnet 2", 64, 64, 27, 192, 5, 1, 2},
                           {"alexnet 3", 64, 192, 13, 384, 3, 1, 1},
                           {"alexnet 4", 64, 384, 13, 256, 3, 1, 1},
                           {"alexnet 5", 64, 256, 13, 256, 3, 1, 1},
                           {"resnet18 stem", 32, 3, 224, 64, 7, 2, 3},
                           {"resnet18 64", 32, 64, 56, 64, 3, 1, 1},
                           {"resnet18 64-128", 32, 64, 56, 128, 3, 2, 1},
                           {"resnet18 64-128 1x1", 32, 64, 56, 128, 1, 2, 0},
                           {"resnet18 128", 32, 128, 28, 128, 3, 1, 1},
                           {"resnet18 128-256", 32, 128, 28, 256, 3, 2, 1},
                           {"resnet18 256", 32, 256, 14, 256, 3, 1, 1},
                           {"resnet18 256-512", 32, 256, 14, 512, 3, 2, 1},
                           {"resnet18 512", 32, 512, 7, 512, 3, 1, 1}};

void Convolve(Device* device, const Case& c, Dtype t) {
  const int threads = device->info().threads;
  ConvSpec spec;
  const int64_t size = (c.size + 2 * c.padding - c.kernel) / c.stride + 1;
  spec.max_rows = c.batch;
  spec.in = {c.size, c.size, c.in};
  spec.out = {size, size, c.out};
  spec.window = {c.kernel, c.kernel,  c.stride,  c.stride,  1,
                 1,        c.padding, c.padding, c.padding, c.padding};
  spec.input = spec.output = t;
  spec.bias = false;
  spec.input_gradient = c.in > 3;
  const std::unique_ptr<AffineOp> op = device->MakeConvolution(spec);
  const Tensor x = Random(device, t, c.batch * spec.in.elements());
  const Tensor y = Random(device, t, c.batch * spec.out.elements());
  const Tensor dx = Random(device, t, x.elements());
  const Tensor w = Random(device, Dtype::kF32, op->weight_elements());
  const Tensor w16 = Random(device, Dtype::kBF16, op->weight_elements());
  const Tensor dw = Random(device, Dtype::kF32, op->weight_elements());
  const auto backward = [&](void* to) {
    op->Backward(x.data(), y.data(), y.data(), w.f32(), w16.bf16(), to, dw.f32(), nullptr, c.batch,
                 false);
  };
  const double flops = 2e-9 * c.batch * size * size * c.out * c.in * c.kernel * c.kernel / threads;
  const double forward = Best(
      threads, [&] { op->Forward(x.data(), w.f32(), w16.bf16(), nullptr, y.data(), c.batch); });
  const double weights = Best(threads, [&] { backward(nullptr); });
  std::printf("%-20s forward %7.2f ms %4.0f | weights %7.2f ms %4.0f", c.name, 1e3 * forward,
              flops / forward, 1e3 * weights, flops / weights);
  if (spec.input_gradient) {
    const double input = Best(threads, [&] { backward(dx.data()); }) - weights;
    std::printf(" | input %7.2f ms %4.0f", 1e3 * input, flops / input);
  }
  std::printf("  GFLOP/s\n");
  std::fflush(stdout);
}

void Normalise(Device* device, int64_t batch, int64_t size, int64_t channels, Dtype t) {
  const int threads = device->info().threads;
  const int64_t n = batch * size * size * channels;
  const Tensor x = Random(device, t, n), y = Random(device, t, n), d = Random(device, t, n);
  const Tensor residual = Random(device, t, n);
  const Tensor gamma = Random(device, Dtype::kF32, channels);
  const Tensor stats(device, Dtype::kF32, {2 * channels});
  const Tensor dgamma(device, Dtype::kF32, {channels}), dbeta(device, Dtype::kF32, {channels});
  const int32_t rows = static_cast<int32_t>(batch);
  Device::BatchNormArgs a{&rows, 1, size * size, channels};
  a.activation = Activation::kRelu;
  const double gigabytes = 1e-9 * static_cast<double>(n * SizeOf(t)) / threads;
  const auto forward = [&](const void* r) {
    return Best(threads, [&] {
      device->BatchNormTrain(a, x.data(), gamma.f32(), gamma.f32(), r, y.data(), stats.f32(), t);
    });
  };
  const auto backward = [&](void* r) {
    return Best(threads, [&] {
      device->BatchNormBackward(a, x.data(), y.data(), d.data(), gamma.f32(), stats.f32(), d.data(),
                                r, dgamma.f32(), dbeta.f32(), false, t);
    });
  };
  const double plain = forward(nullptr), added = forward(residual.data());
  const double back = backward(nullptr), split = backward(residual.data());
  std::printf(
      "batch norm + ReLU %3ldx%ldx%ldx%-3ld forward %6.2f ms %4.1f, + residual %6.2f ms "
      "%4.1f | backward %6.2f ms %4.1f, + residual %6.2f ms %4.1f GB/s\n",
      static_cast<long>(batch), static_cast<long>(size), static_cast<long>(size),
      static_cast<long>(channels), 1e3 * plain, 3 * gigabytes / plain, 1e3 * added,
      4 * gigabytes / added, 1e3 * back, 7 * gigabytes / back, 1e3 * split, 7 * gigabytes / split);
}

void MaxPool(Device* device, int64_t batch, int64_t size, int64_t channels, int64_t padding,
             Dtype t) {
  const int threads = device->info().threads;
  const int64_t out = (size + 2 * padding - 3) / 2 + 1;
  PoolSpec s;
  s.max_rows = batch;
  s.in = {size, size, channels};
  s.out = {out, out, channels};
  s.window = {3, 3, 2, 2, 1, 1, padding, padding, padding, padding};
  s.dtype = t;
  const std::unique_ptr<PoolOp> op = device->MakePool(s);
  const Tensor x = Random(device, t, batch * s.in.elements());
  const Tensor y = Random(device, t, batch * s.out.elements());
  const Tensor saved(device, Dtype::kU8, {op->saved_bytes()});
  const double forward =
      Best(threads, [&] { op->Forward(x.data(), y.data(), saved.data(), batch); });
  const double backward =
      Best(threads, [&] { op->Backward(y.data(), saved.data(), x.data(), batch); });
  std::printf("max pool 3x3/2 %3ldx%ldx%ldx%-3ld forward %6.2f ms | backward %6.2f ms\n",
              static_cast<long>(batch), static_cast<long>(size), static_cast<long>(size),
              static_cast<long>(channels), 1e3 * forward, 1e3 * backward);
}

int Main(int argc, char** argv) {
  int threads = 1;
  Dtype t = Dtype::kF32;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::atoi(argv[i]) > 0) {
      threads = std::atoi(argv[i]);
    } else if (std::strcmp(argv[i], "bf16") == 0) {
      t = Dtype::kBF16;
    } else {
      only = argv[i];
    }
  }
  const std::unique_ptr<Device> device = MakeCpuDevice(0, threads, -1);
  std::printf("%s, %s\n", device->info().name.c_str(), Name(t));
  for (const Case& c : kCases) {
    if (std::string(c.name).find(only) != std::string::npos) Convolve(device.get(), c, t);
  }
  if (std::string("batch norm").find(only) == std::string::npos) return 0;
  Normalise(device.get(), 128, 32, 16, t);
  Normalise(device.get(), 128, 16, 32, t);
  Normalise(device.get(), 128, 8, 64, t);
  Normalise(device.get(), 32, 56, 64, t);
  Normalise(device.get(), 32, 7, 512, t);
  MaxPool(device.get(), 64, 55, 64, 0, t);
  MaxPool(device.get(), 32, 112, 64, 1, t);
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
