#include "common/base/error.h"
#include "common/device/cpu/cpu_device.h"
#include "tests/common/device/conv_cases.h"
#include "tests/common/device/image_cases.h"

namespace mariana {
namespace {

using namespace device_cases;

// f(device) for each instruction set, with one thread and with more than there may be cores.
template <class F>
void EachDevice(const F& f) {
  for (const Kernels& k : UsableKernels()) {
    for (const int threads : {1, 2, 3}) {
      CAPTURE(k.isa, threads);
      f(MakeCpuDeviceWith(k, 0, threads, -1).get());
    }
  }
}

// Shapes of the field, small: kernels of one and more, strides, dilation, groups, uneven padding,
// few and odd channels.
std::vector<ConvCase> Convolutions() {
  const Window uneven{3, 2, 2, 1, 1, 2, 1, 0, 0, 2};
  return {
      {3, {8, 8, 16}, 16, Square(3, 1, 1)},
      {4, {9, 7, 16}, 32, Square(3, 2, 1)},
      {2, {8, 8, 32}, 64, Square(1, 2, 0)},
      {2, {6, 6, 64}, 32, Square(1, 1, 0)},
      {3, {19, 23, 3}, 20, Square(7, 2, 3)},
      {2, {23, 23, 3}, 64, Square(11, 4, 2)},
      {2, {9, 9, 8}, 12, Square(5, 1, 2), 2},
      {2, {8, 8, 24}, 24, Square(3, 1, 1), 24},
      {2, {8, 8, 32}, 32, Square(3, 2, 1), 32},
      {1, {8, 8, 6}, 12, Square(3, 1, 1), 6},
      {2, {12, 12, 16}, 16, {3, 3, 1, 1, 2, 3, 2, 2, 3, 3}},
      {2, {10, 9, 7}, 5, uneven},
      {5, {4, 4, 1}, 1, Square(3, 1, 1)},
      {2, {5, 5, 48}, 40, Square(5, 1, 0)},
      {3, {33, 17, 16}, 16, {3, 3, 2, 1, 2, 1, 2, 1, 0, 2}},  // sixteen to sixteen
      {3, {11, 40, 48}, 16, Square(3, 1, 1)},
      {2, {9, 9, 16}, 48, Square(3, 3, 2)},
      {2, {10, 7, 64}, 64, {4, 3, 3, 2, 1, 1, 1, 2, 0, 1}},  // strides in classes
      {2, {7, 7, 32}, 96, Square(1, 3, 0)},
  };
}

TEST_CASE("convolutions equal float64, forward and backward") {
  EachDevice([](Device* device) {
    for (ConvCase c : Convolutions()) {
      ConvRig(device, c).Check();
      c.activation = Activation::kRelu;
      c.accumulate = true;
      ConvRig(device, c).Check();
    }
  });
}

// oneDNN emulates bf16 on AVX-512.
bool HasBf16() { return UsableKernels().size() > 1; }

TEST_CASE("convolutions in bf16 equal float64 within its rounding") {
  if (!HasBf16()) return;
  EachDevice([](Device* device) {
    for (ConvCase c : Convolutions()) {
      c.input = c.output = Dtype::kBF16;
      c.activation = Activation::kRelu;
      c.accumulate = true;
      ConvRig(device, c).Check();
    }
    ConvCase mixed{3, {8, 8, 16}, 16, Square(3, 1, 1)};
    mixed.input = Dtype::kBF16;
    ConvRig(device, mixed).Check();
  });
}

TEST_CASE("convolutions: other activations, no bias, no gradient of the input, short batches") {
  EachDevice([](Device* device) {
    for (const Activation a : {Activation::kSigmoid, Activation::kTanh, Activation::kRelu}) {
      ConvCase c{2, {6, 6, 5}, 18, Square(3, 1, 1)};
      c.activation = a;
      c.max_rows = 7;
      ConvRig(device, c).Check();
      c.bias = false;
      c.input_gradient = false;
      ConvRig(device, c).Check();
    }
  });
}

TEST_CASE("a convolution from f32 to bf16 is refused") {
  ConvCase c{1, {4, 4, 16}, 16, Square(3, 1, 1)};
  c.output = Dtype::kBF16;
  const auto device = MakeCpuDevice(0, 1, -1);
  REQUIRE_THROWS_WITH(device->MakeConvolution(MakeSpec(c)),
                      Catch::Contains("no convolution from f32 to bf16"));
}

TEST_CASE("a convolution gives the same bits again") {
  EachDevice([](Device* device) {
    const ConvCase c{7, {8, 8, 16}, 16, Square(3, 1, 1)};
    REQUIRE(ConvRig(device, c).All() == ConvRig(device, c).All());
  });
}

TEST_CASE("pooling equals float64, forward and backward") {
  const auto spec = [](PoolKind kind, ImageSize in, const Window& w, int64_t h, int64_t v) {
    PoolSpec s;
    s.kind = kind;
    s.in = in;
    s.out = {h, v, in.channels};
    s.window = w;
    return s;
  };
  EachDevice([&](Device* device) {
    for (const Dtype t : {Dtype::kF32, Dtype::kBF16}) {
      for (const PoolKind kind : {PoolKind::kMax, PoolKind::kAverage}) {
        for (const bool count : {true, false}) {
          const Window uneven{3, 2, 2, 3, 1, 1, 1, 0, 0, 1};
          for (PoolSpec s : {spec(kind, {13, 13, 64}, Square(3, 2, 0), 6, 6),
                             spec(kind, {9, 8, 17}, Square(3, 2, 1), 5, 4),
                             spec(kind, {8, 8, 5}, Square(3, 2, 0), 4, 4),  // beyond the image
                             spec(kind, {7, 7, 300}, Square(7, 7, 0), 1, 1),
                             spec(kind, {6, 6, 3}, Square(2, 3, 0), 2, 2),  // pixels in no window
                             spec(kind, {10, 9, 4}, uneven, 5, 3)}) {
            s.dtype = t;
            s.count_padding = count;
            CheckPool(device, s, 4);
          }
        }
      }
    }
    CheckPoolNan(device);
  });
}

TEST_CASE("a max window of more than a byte's pixels is refused") {
  PoolSpec s;
  s.max_rows = 1;
  s.in = {17, 16, 1};
  s.window.kernel_h = 17;
  s.window.kernel_w = 16;
  const auto device = MakeCpuDevice(0, 1, -1);
  REQUIRE_THROWS_WITH(device->MakePool(s),
                      "cpu device: max pooling over 17x16 pixels; at most 256 there are");
}

TEST_CASE("local response normalisation equals float64, backward by differences") {
  EachDevice([](Device* device) {
    for (const Dtype t : {Dtype::kF32, Dtype::kBF16}) {
      CheckLrn(device, {}, 20, t);
      CheckLrn(device, {4, 0.5f, 0.6f, 2}, 20, t);
      CheckLrn(device, {5, 0.5f, 0.75f, 1}, 3, t);
    }
  });
}

TEST_CASE("leaky ReLU and GELU equal float64") {
  EachDevice([](Device* device) {
    for (const Dtype t : {Dtype::kF32, Dtype::kBF16}) {
      for (const int64_t n : {1, 17, 12345}) {
        CheckLeakyRelu(device, t, n);
        CheckGelu(device, t, n);
      }
    }
  });
}

}  // namespace
}  // namespace mariana
