// step_bench NET BATCH THREADS SECONDS: times a training step of a speech net at the device level
// (no data, no exchange): forward, loss, backward, SGD with momentum, fp32. NET is `big`
// (440-7x2048-12000) or `small` (440-4x512-2000). Prints frames/s by wall and by process CPU time
// (per thread; on a busy machine the one to trust with one thread), GFLOP/s, the share of the GEMM
// rate measured in the same run, and where the time goes.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/device/device.h"
#include "common/tensor/tensor.h"

namespace mariana {
namespace {

double Seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}
double Wall() { return Seconds(CLOCK_MONOTONIC); }
double Cpu() { return Seconds(CLOCK_PROCESS_CPUTIME_ID); }

double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

Tensor Uniform(Device* device, Shape shape, float range, uint64_t stream) {
  RandomSequence random(1, stream);
  std::vector<float> host(shape.elements());
  for (float& x : host) x = (2 * random.Uniform() - 1) * range;
  Tensor t(device, Dtype::kF32, shape);
  t.Upload(host.data());
  return t;
}

struct Layer {
  LinearSpec spec;
  std::unique_ptr<AffineOp> op;
  int64_t weight, bias;  // offsets into the arenas
  Tensor y, dy;
};

class Step {
 public:
  Step(Device* device, const std::vector<int64_t>& widths, int64_t batch)
      : device_(device), batch_(batch) {
    int64_t elements = 0;
    for (size_t i = 0; i + 1 < widths.size(); ++i) {
      Layer l;
      l.spec = {batch, widths[i], widths[i + 1]};
      l.spec.activation = i + 2 < widths.size() ? Activation::kSigmoid : Activation::kNone;
      l.spec.input_gradient = i > 0;
      l.op = device->MakeLinear(l.spec);
      l.weight = elements;
      elements += (l.op->weight_elements() + 15) / 16 * 16;
      l.bias = elements;
      elements += (l.spec.out + 15) / 16 * 16;
      l.y = Tensor(device, Dtype::kF32, {batch, l.spec.out});
      l.dy = Tensor(device, Dtype::kF32, {batch, l.spec.out});
      layers_.push_back(std::move(l));
    }
    values_ = Tensor(device, Dtype::kF32, {elements});
    grads_ = Tensor(device, Dtype::kF32, {elements});
    momentum_ = Tensor(device, Dtype::kF32, {elements});
    input_ = Uniform(device, {batch, widths[0]}, 1.0f, 0);
    Initialize();
    std::vector<int32_t> labels(batch);
    for (int64_t i = 0; i < batch; ++i) labels[i] = static_cast<int32_t>(i * 37 % widths.back());
    labels_ = Tensor(device, Dtype::kI32, {batch});
    labels_.Upload(labels.data());
    sums_ = Tensor(device, Dtype::kF32, {sizeof(LossSums) / sizeof(float)});
  }

  // One step; the mean loss.
  double Run() {
    const float* w = values_.f32();
    const float* x = input_.f32();
    for (Layer& l : layers_) {
      Timed("forward",
            [&] { l.op->Forward(x, w + l.weight, nullptr, w + l.bias, l.y.f32(), batch_); });
      x = l.y.f32();
    }
    Layer& last = layers_.back();
    Timed("loss", [&] {
      device_->Fill(sums_.f32(), 0, sums_.elements());
      device_->SoftmaxCrossEntropy(last.y.f32(), labels_.i32(), last.dy.f32(), 1.0f / batch_,
                                   batch_, last.spec.out, 0, static_cast<LossSums*>(sums_.data()));
    });
    Timed("backward", [&] {
      for (size_t i = layers_.size(); i-- > 0;) {
        Layer& l = layers_[i];
        l.op->Backward(i == 0 ? input_.f32() : layers_[i - 1].y.f32(), l.y.f32(), l.dy.f32(),
                       w + l.weight, nullptr, i == 0 ? nullptr : layers_[i - 1].dy.f32(),
                       grads_.f32() + l.weight, grads_.f32() + l.bias, batch_, false);
      }
    });
    OptimizerStep sgd;
    sgd.learning_rate = 0.01f;
    sgd.momentum = 0.9f;
    Timed("update", [&] {
      device_->Update(sgd, grads_.f32(), values_.f32(), nullptr, momentum_.f32(), nullptr,
                      values_.elements());
    });
    LossSums sums;
    sums_.Download(&sums);
    return sums.loss / batch_;
  }

  // Forward for all layers, both gradients for all but the first's input.
  double Flops() const {
    double flops = 0;
    for (const Layer& l : layers_) {
      flops += 2.0 * batch_ * l.spec.in * l.spec.out * (l.spec.input_gradient ? 3 : 2);
    }
    return flops;
  }

  const std::map<std::string, double>& seconds() const { return seconds_; }
  void ClearSeconds() { seconds_.clear(); }

 private:
  void Initialize() {
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& l = layers_[i];
      const Shape plain{l.spec.out, l.spec.in};
      RandomSequence random(1, kInitStream + i);
      std::vector<float> host(plain.elements()), packed(l.op->weight_elements());
      const float range = 2.0f / std::sqrt(static_cast<float>(l.spec.in));
      for (float& v : host) v = (2 * random.Uniform() - 1) * range;
      l.op->PackWeights(host.data(), packed.data());
      const Shape shape{l.op->weight_elements()};
      values_.Slice(l.weight * 4, Dtype::kF32, shape).Upload(packed.data());
    }
  }

  template <class F>
  void Timed(const char* what, const F& work) {
    const double start = Cpu();
    work();
    seconds_[what] += Cpu() - start;
  }

  Device* device_;
  int64_t batch_;
  std::vector<Layer> layers_;
  Tensor values_, grads_, momentum_, input_, labels_;
  Tensor sums_;  // one LossSums
  std::map<std::string, double> seconds_;
};

// GFLOP/s of y = x W^T, 1024x2048x2048, by CPU time per thread.
double GemmRate(Device* device) {
  const int64_t rows = 1024, n = 2048;
  std::unique_ptr<AffineOp> op = device->MakeLinear({rows, n, n});
  const Tensor x = Uniform(device, {rows, n}, 1, 1), b = Uniform(device, {n}, 1, 2);
  const Tensor w = Uniform(device, {op->weight_elements()}, 1, 3);
  const Tensor y(device, Dtype::kF32, {rows, n});
  std::vector<double> seconds;
  for (int i = 0; i < 9; ++i) {
    const double start = Cpu();
    op->Forward(x.f32(), w.f32(), nullptr, b.f32(), y.f32(), rows);
    seconds.push_back(Cpu() - start);
  }
  return 2.0 * rows * n * n / Median(seconds) * 1e-9;
}

int Main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: step_bench big|small BATCH THREADS SECONDS\n");
    return 64;
  }
  const bool big = std::string(argv[1]) == "big";
  const int64_t batch = std::atoll(argv[2]);
  const int threads = std::atoi(argv[3]);
  const double limit = std::atof(argv[4]);
  std::vector<int64_t> widths(big ? 8 : 5, big ? 2048 : 512);
  widths.front() = 440;
  widths.push_back(big ? 12000 : 2000);

  const std::unique_ptr<Device> device = MakeCpuDevice(0, threads, -1);
  double peak = GemmRate(device.get());
  Step step(device.get(), widths, batch);
  double loss = step.Run();
  step.ClearSeconds();
  std::vector<double> wall, cpu;
  for (const double start = Wall(); Wall() - start < limit || wall.size() < 3;) {
    const double w = Wall(), c = Cpu();
    loss = step.Run();
    wall.push_back(Wall() - w);
    cpu.push_back((Cpu() - c) / threads);
  }
  peak = std::max(peak, GemmRate(device.get()));
  const double rate = step.Flops() / (Median(cpu) * threads) * 1e-9;
  const auto best = [](const std::vector<double>& v) {
    return *std::min_element(v.begin(), v.end());
  };
  std::printf(
      "%s batch %ld, %s: frames/s wall %.0f (best %.0f), cpu %.0f (best %.0f) | %.0f GFLOP/s a "
      "thread, %.2f of GEMM's %.0f | loss %.3f, %zu steps\n",
      argv[1], static_cast<long>(batch), device->info().name.c_str(), batch / Median(wall),
      batch / best(wall), batch / Median(cpu), batch / best(cpu), rate, rate / peak, peak, loss,
      wall.size());
  double total = 0;
  for (const auto& [what, seconds] : step.seconds()) total += seconds;
  for (const auto& [what, seconds] : step.seconds()) {
    std::printf("  %-9s %8.2f ms  %4.1f%%\n", what.c_str(), 1e3 * seconds / wall.size(),
                100 * seconds / total);
  }
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
