#include "common/device/cpu/cpu_device.h"
#include "tests/common/device/math_cases.h"

namespace mariana {
namespace {

using namespace device_cases;

// One thread, and more threads than cores: what is promised to be the same bits must be.
struct Pair {
  std::unique_ptr<Device> one, many;
};

// A pair for each instruction set that this CPU has.
std::vector<Pair> Pairs() {
  std::vector<Pair> pairs;
  for (const Kernels& k : UsableKernels()) {
    pairs.push_back({MakeCpuDeviceWith(k, 0, 1, -1), MakeCpuDeviceWith(k, 1, 3, -1)});
  }
  return pairs;
}

constexpr Dtype kFloats[] = {Dtype::kF32, Dtype::kBF16};

// The largest relative error of f against `exact` over [low, high].
template <class F, class G>
double Worst(float low, float high, const F& f, const G& exact) {
  double worst = 0;
  for (int i = 0; i <= 200000; ++i) {
    const float x = low + (high - low) * static_cast<float>(i) / 200000.0f;
    const double y = exact(double{x});
    if (y != 0) worst = std::max(worst, std::abs(f(x) - y) / std::abs(y));
  }
  return worst;
}

TEST_CASE("the formulas' functions are within 1e-6 of float64") {
  const auto fast_exp = [](float x) { return formulas::Exp(x); };
  const auto fast_log = [](float x) { return formulas::Log(x); };
  const auto fast_log1p = [](float x) { return formulas::Log1p(x); };
  const auto fast_sigmoid = [](float x) { return formulas::Sigmoid(x); };
  const auto fast_tanh = [](float x) { return formulas::Tanh(x); };
  const auto exp = [](double x) { return std::exp(x); };
  const auto log = [](double x) { return std::log(x); };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  REQUIRE(Worst(-87, 88, fast_exp, exp) < 1e-6);
  REQUIRE(Worst(-1, 1, fast_exp, exp) < 2e-7);
  REQUIRE(Worst(0.01f, 30, fast_log, log) < 1e-6);
  REQUIRE(Worst(1e-30f, 1e30f, fast_log, log) < 1e-6);
  REQUIRE(Worst(0, 1, fast_log1p, [](double x) { return std::log1p(x); }) < 1e-6);
  REQUIRE(Worst(1e-9f, 1e-4f, fast_log1p, [](double x) { return std::log1p(x); }) < 1e-6);
  REQUIRE(Worst(-80, 80, fast_sigmoid, sigmoid) < 1e-6);
  REQUIRE(Worst(-20, 20, fast_tanh, [](double x) { return std::tanh(x); }) < 1e-6);
  REQUIRE(Worst(
              -6, 6, [](float x) { return formulas::Erf(x); },
              [](double x) { return std::erf(x); }) < 1e-6);
  REQUIRE(Worst(-1e-3f, 1e-3f, fast_tanh, [](double x) { return std::tanh(x); }) < 1e-6);
}

TEST_CASE("the formulas keep infinities and NaN") {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  REQUIRE(formulas::Exp(-infinity) == 0);
  REQUIRE(formulas::Exp(infinity) == infinity);
  REQUIRE(formulas::Exp(0) == 1);
  REQUIRE(formulas::Log(0) == -infinity);
  REQUIRE(formulas::Log(infinity) == infinity);
  REQUIRE(std::isnan(formulas::Log(-1)));
  REQUIRE(formulas::Sigmoid(-infinity) == 0);
  REQUIRE(formulas::Sigmoid(infinity) == 1);
  REQUIRE(formulas::Tanh(-infinity) == -1);
  for (const float y :
       {formulas::Exp(nan), formulas::Log(nan), formulas::Log1p(nan), formulas::Sigmoid(nan),
        formulas::Tanh(nan), formulas::Apply<Activation::kRelu>(nan)}) {
    REQUIRE(std::isnan(y));
  }
}

TEST_CASE("element-wise operations equal float64 in both float types") {
  for (const Pair& devices : Pairs()) {
    for (const Dtype t : kFloats) {
      for (const int64_t n : {1, 17, 12345}) {
        CheckElementwise(devices.many.get(), t, n);
        CheckMultiplyAdd(devices.many.get(), t, n);
      }
      CheckCopyColumns(devices.many.get(), t);
      CheckPlaceColumns(devices.many.get(), t);
      CheckSplice(devices.many.get(), t);
      CheckDropout(devices.one.get(), t);
      CheckDropout(devices.many.get(), t);
      CheckDropoutPart(devices.many.get(), t);
    }
    CheckConvert(devices.one.get());
  }
}

TEST_CASE("filling and adding in place") {
  const auto device = MakeCpuDevice(0, 2, -1);
  const Tensor x(device.get(), Dtype::kF32, {9001}), y(device.get(), Dtype::kF32, {9001});
  device->Fill(x.f32(), 1.5f, 9000);
  device->Fill(y.f32(), 2.0f, 9001);
  device->AddF32(x.f32(), y.f32(), 9001);
  Floats expected(9001, 3.5f);
  expected.back() = 2.0f;
  REQUIRE(ToHost(y) == expected);
}

TEST_CASE("dot products of pairs of vectors, and their gradients, for any number of threads") {
  // Around what a tile and a vector hold: vectors, their size, rows, products.
  const int64_t shapes[][3] = {{1, 2, 1},   {5, 3, 2},   {16, 2, 17},  {17, 4, 3},
                               {33, 5, 16}, {40, 7, 10}, {35, 27, 16}, {3, 40, 5}};
  for (const Pair& devices : Pairs()) {
    for (const Dtype t : kFloats) {
      for (const auto& [rows, vectors, size] : shapes) {
        REQUIRE(CheckDots(devices.one.get(), t, rows, vectors, size) ==
                CheckDots(devices.many.get(), t, rows, vectors, size));
      }
    }
  }
}

TEST_CASE("batch normalisation: outputs, and gradients by differences") {
  for (const Pair& devices : Pairs()) {
    for (const Dtype t : kFloats) {
      CheckBatchNorm(devices.one.get(), {{4, 3, 1}, 5, t}, true);
      CheckBatchNorm(devices.one.get(), {{4, 3}, 5, t, 3, true, true}, true);
      for (const bool fused : {false, true}) {
        CheckBatchNormInfer(devices.many.get(), t, fused);
        for (const int64_t cols : {3, 16, 64, 200}) {
          const NormCase images{{7, 2}, cols, t, 49, fused, fused};
          REQUIRE(CheckBatchNorm(devices.one.get(), images, false) ==
                  CheckBatchNorm(devices.many.get(), images, false));
        }
      }
      const NormCase wide{{64, 64, 7}, 300, t};
      REQUIRE(CheckBatchNorm(devices.one.get(), wide, false) ==
              CheckBatchNorm(devices.many.get(), wide, false));
    }
  }
}

TEST_CASE("batch normalisation of many pixels with a large mean is sound in fp32") {
  for (const Pair& devices : Pairs()) {
    NormCase c{{32}, 4, Dtype::kF32, 56 * 56};
    c.mean = 100;
    CheckBatchNorm(devices.one.get(), c, false);
  }
}

TEST_CASE("losses equal float64, and are the same for any number of threads") {
  for (const Pair& devices : Pairs()) {
    const auto same = [](const LossResult& a, const LossResult& b) {
      REQUIRE(a.sums.loss == b.sums.loss);
      REQUIRE(a.gradient == b.gradient);
    };
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 17}, {5, 12000}, {300, 64}}) {
      same(CheckSoftmax(devices.one.get(), rows, cols, 3),
           CheckSoftmax(devices.many.get(), rows, cols, 3));
      for (const bool logistic : {false, true}) {
        same(CheckPairwiseLoss(devices.one.get(), logistic, rows, cols),
             CheckPairwiseLoss(devices.many.get(), logistic, rows, cols));
      }
    }
    CheckSoftmax(devices.one.get(), 5, 1000, 3, 0.1f);
    CheckSoftmax(devices.one.get(), 3, 100, 500);  // exp would overflow
    CheckSoftmaxCorners(devices.one.get());
    for (const float smoothing : {0.0f, 0.1f}) CheckSplitSoftmax(devices.many.get(), smoothing);
  }
}

TEST_CASE("optimizers follow their papers and PyTorch") {
  for (const Pair& devices : Pairs()) {
    OptimizerStep sgd;
    sgd.learning_rate = 0.1f;
    sgd.gradient_scale = 0.5f;
    sgd.l1 = 0.01f;
    sgd.l2 = 0.02f;
    OptimizerStep momentum = sgd;
    momentum.momentum = 0.9f;
    OptimizerStep nesterov = momentum;
    nesterov.nesterov = true;
    OptimizerStep ada_grad = sgd;
    ada_grad.kind = OptimizerKind::kAdaGrad;
    ada_grad.epsilon = 1e-3f;
    OptimizerStep adam = sgd;
    adam.kind = OptimizerKind::kAdam;
    adam.beta1 = 0.9;
    adam.beta2 = 0.999;
    adam.epsilon = 1e-3f;
    adam.weight_decay = 0.1f;
    for (const OptimizerStep& step : {sgd, momentum, nesterov, ada_grad, adam}) {
      for (const int64_t n : {17, 20001}) {
        REQUIRE(CheckUpdate(devices.one.get(), step, n) ==
                CheckUpdate(devices.many.get(), step, n));
      }
    }
  }
}

TEST_CASE("a sum of squares is in float64 and the same for any number of threads") {
  for (const Pair& devices : Pairs()) {
    for (const int64_t n : {1, 1000, 200001}) {
      REQUIRE(CheckSumOfSquares(devices.one.get(), n) == CheckSumOfSquares(devices.many.get(), n));
    }
  }
}

}  // namespace
}  // namespace mariana
