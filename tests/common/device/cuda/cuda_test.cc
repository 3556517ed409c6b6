// The cases of all devices, on a GPU. Where there is none, each case says that it was not run.
#include "common/base/error.h"
#include "common/device/plugin/plugin.h"
#include "tests/common/device/conv_cases.h"
#include "tests/common/device/image_cases.h"
#include "tests/common/device/linear_cases.h"
#include "tests/common/device/math_cases.h"

namespace mariana {
namespace {

using namespace device_cases;

constexpr Dtype kFloats[] = {Dtype::kF32, Dtype::kBF16};
constexpr Activation kAll[] = {Activation::kNone, Activation::kSigmoid, Activation::kTanh,
                               Activation::kRelu};
// TF32 keeps 10 bits of mantissa, fp32 23: what errors of products are multiplied by.
constexpr double kTf32 = 300;

// f(device) on a GPU, if there is one.
template <class F>
void OnGpu(bool strict, const F& f) {
  std::string why;
  if (UsableCudaDevices(&why) == 0) {
    WARN("not run: " << why);
    return;
  }
  const auto device = OpenCudaDevice(0, strict);
  f(device.get());
}

TEST_CASE("CUDA: a device that is not there is one clear line") {
  std::string why;
  const int devices = UsableCudaDevices(&why);
  try {
    OpenCudaDevice(devices, true);
    FAIL("no error");
  } catch (const Error& e) {
    REQUIRE(e.code() == ExitCode::kUsage);
    REQUIRE(e.message().rfind("--device=cuda: ", 0) == 0);
    REQUIRE(e.message().find('\n') == std::string::npos);
    if (devices == 0) REQUIRE(e.message() == "--device=cuda: " + why);
  }
}

TEST_CASE("CUDA: element-wise operations") {
  OnGpu(true, [](Device* d) {
    for (const Dtype t : kFloats) {
      for (const int64_t n : {1, 17, 12345}) {
        CheckElementwise(d, t, n);
        CheckMultiplyAdd(d, t, n);
        CheckLeakyRelu(d, t, n);
        CheckGelu(d, t, n);
      }
      CheckCopyColumns(d, t);
      CheckPlaceColumns(d, t);
      CheckSplice(d, t);
      CheckDropout(d, t);
      CheckDropoutPart(d, t);
      CheckLrn(d, {5, 0.5f, 0.75f, 1}, 20, t);
      CheckDots(d, t, 35, 27, 16);
    }
    CheckConvert(d);
  });
}

TEST_CASE("CUDA: linear layers, in strict fp32, in TF32 and in bf16") {
  const LinearCase shapes[] = {{1, 1, 1},    {2, 3, 17},    {29, 65, 97},
                               {33, 16, 64}, {257, 20, 40}, {64, 512, 256}};
  for (const bool strict : {true, false}) {
    OnGpu(strict, [&](Device* d) {
      for (LinearCase c : shapes) {
        for (const Activation a : kAll) {
          c.activation = a;
          c.accumulate = false;
          c.bias = true;
          LinearRig(d, c).Check(strict ? 1 : kTf32);
          c.accumulate = true;
          LinearRig(d, c).Check(strict ? 1 : kTf32);
          c.bias = false;
          LinearRig(d, c).Check(strict ? 1 : kTf32);
        }
        c.input = Dtype::kBF16;
        for (const Dtype output : kFloats) {
          c.output = output;
          c.bias = true;
          LinearRig(d, c).Check();
        }
      }
      REQUIRE(LinearRig(d, shapes[4]).All() == LinearRig(d, shapes[4]).All());
    });
  }
}

TEST_CASE("CUDA: convolutions and pooling") {
  const Window uneven{3, 2, 2, 1, 1, 2, 1, 0, 0, 2};
  for (const bool strict : {true, false}) {
    OnGpu(strict, [&](Device* d) {
      for (ConvCase c :
           {ConvCase{3, {8, 8, 16}, 16, Square(3, 1, 1)},
            ConvCase{4, {9, 7, 16}, 32, Square(3, 2, 1)},
            ConvCase{2, {6, 6, 64}, 32, Square(1, 1, 0)},
            ConvCase{3, {19, 23, 3}, 24, Square(7, 2, 3)},
            ConvCase{2, {9, 9, 8}, 16, Square(5, 1, 2), 2}, ConvCase{2, {10, 9, 8}, 8, uneven}}) {
        for (const bool accumulate : {false, true}) {
          c.accumulate = accumulate;
          c.activation = Activation::kRelu;
          c.input = c.output = Dtype::kF32;
          ConvRig(d, c).Check(strict ? 1 : kTf32);
          c.input = c.output = Dtype::kBF16;
          ConvRig(d, c).Check();
        }
      }
      const ConvCase again{7, {8, 8, 16}, 16, Square(3, 1, 1)};
      REQUIRE(ConvRig(d, again).All() == ConvRig(d, again).All());
      PoolSpec s;
      s.in = {13, 13, 64};
      s.out = {6, 6, 64};
      s.window = Square(3, 2, 0);
      for (const PoolKind kind : {PoolKind::kMax, PoolKind::kAverage}) {
        s.kind = kind;
        for (const Dtype t : kFloats) {
          s.dtype = t;
          CheckPool(d, s, 4);
        }
      }
      CheckPoolNan(d);
    });
  }
}

TEST_CASE("CUDA: batch normalisation") {
  OnGpu(true, [](Device* d) {
    for (const Dtype t : kFloats) {
      CheckBatchNorm(d, {{4, 3, 1}, 5, t}, true);
      CheckBatchNorm(d, {{4, 3}, 5, t, 3, true, true}, true);
      for (const bool fused : {false, true}) {
        CheckBatchNormInfer(d, t, fused);
        for (const int64_t cols : {3, 16, 64, 200}) {
          const NormCase images{{7, 2}, cols, t, 49, fused, fused};
          REQUIRE(CheckBatchNorm(d, images, false) == CheckBatchNorm(d, images, false));
        }
      }
      // More groups than one launch takes.
      CheckBatchNorm(d, {std::vector<int32_t>(150, 2), 8, t}, false);
    }
    NormCase large{{32}, 4, Dtype::kF32, 56 * 56};
    large.mean = 100;
    CheckBatchNorm(d, large, false);
  });
}

TEST_CASE("CUDA: losses") {
  OnGpu(true, [](Device* d) {
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{1, 17}, {5, 12000}, {300, 64}, {3, 20000}}) {
      CheckSoftmax(d, rows, cols, 3);
      CheckPairwiseLoss(d, false, rows, cols);
      CheckPairwiseLoss(d, true, rows, cols);
    }
    CheckSoftmax(d, 5, 1000, 3, 0.1f);
    CheckSoftmax(d, 3, 100, 500);  // exp would overflow
    CheckSoftmaxCorners(d);
    for (const float smoothing : {0.0f, 0.1f}) CheckSplitSoftmax(d, smoothing);
  });
}

TEST_CASE("CUDA: optimizers and sums of squares") {
  OnGpu(true, [](Device* d) {
    OptimizerStep sgd;
    sgd.learning_rate = 0.1f;
    sgd.l2 = 0.02f;
    OptimizerStep nesterov = sgd;
    nesterov.momentum = 0.9f;
    nesterov.nesterov = true;
    OptimizerStep ada_grad = sgd;
    ada_grad.kind = OptimizerKind::kAdaGrad;
    ada_grad.epsilon = 1e-3f;
    OptimizerStep adam = ada_grad;
    adam.kind = OptimizerKind::kAdam;
    adam.beta1 = 0.9;
    adam.beta2 = 0.999;
    adam.weight_decay = 0.1f;
    for (const OptimizerStep& step : {sgd, nesterov, ada_grad, adam}) {
      CheckUpdate(d, step, 17);
      CheckUpdate(d, step, 20001);
    }
    for (const int64_t n : {1, 1000, 200001}) {
      REQUIRE(CheckSumOfSquares(d, n) == CheckSumOfSquares(d, n));
    }
  });
}

TEST_CASE("CUDA: a piece of a step that is replayed gives the bits of one that is not") {
  OnGpu(false, [](Device* d) {
    Floats x = Random(3000, 2, 1);
    const Tensor tx = ToDevice(d, Dtype::kF32, {3000}, &x), y(d, Dtype::kF32, {3000});
    const Tensor first = OneI64(d, 0);
    const auto queue = [&] {
      d->Dropout(tx.data(), y.data(), 30, 100, 0.5f, 1, 2, I64(first), {}, Dtype::kF32);
      d->AddF32(tx.f32(), y.f32(), 3000);
    };
    const auto pieces = d->MakePieces();
    for (int64_t step = 0; step < 5; ++step) {
      first.Upload(&step);  // what varies comes through device memory
      pieces->Run({1}, queue);
      const Floats replayed = ToHost(y);
      queue();
      REQUIRE(ToHost(y) == replayed);
    }
    REQUIRE(pieces->unrecorded().empty());
  });
}

TEST_CASE("CUDA: what a neighbour on the same GPU sends") {
  OnGpu(true, [](Device* d) {
    const auto other = OpenCudaDevice(0, true);
    Floats a = Random(5000, 1, 1), b = Random(5000, 1, 2), c = Random(5000, 1, 3);
    const Tensor ta = ToDevice(d, Dtype::kF32, {5000}, &a);
    const Tensor tb = ToDevice(other.get(), Dtype::kF32, {5000}, &b);
    d->Mark()();
    other->Mark()();
    d->ReceiveAdd(other.get(), tb.f32(), ta.f32(), 5000);
    Doubles sum;
    for (size_t i = 0; i < a.size(); ++i) sum.push_back(double{a[i]} + b[i]);
    RequireNear(ToHost(ta), sum, 1e-7);
    d->ReceiveCopy(other.get(), tb.f32(), ta.f32(), 5000);
    REQUIRE(ToHost(ta) == b);
    d->UploadAside(ta.data(), c.data(), ta.bytes());
    REQUIRE(ToHost(ta) == c);
  });
}

TEST_CASE("CUDA: memory that is not there is one line with numbers") {
  OnGpu(true, [](Device* d) {
    try {
      d->Allocate(int64_t{1} << 50);
      FAIL("no error");
    } catch (const Error& e) {
      REQUIRE(e.message().find("out of memory allocating") != std::string::npos);
      REQUIRE(e.message().find("MiB are free") != std::string::npos);
    }
    d->Free(d->Allocate(1 << 20));  // and the device goes on
  });
}

}  // namespace
}  // namespace mariana
