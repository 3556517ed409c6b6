#include "common/device/cpu/cpu_device.h"
#include "tests/common/device/conv_cases.h"

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

TEST_CASE("convolutions in bf16 equal float64 within its rounding") {
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

TEST_CASE("a convolution gives the same bits again") {
  EachDevice([](Device* device) {
    const ConvCase c{7, {8, 8, 16}, 16, Square(3, 1, 1)};
    REQUIRE(ConvRig(device, c).All() == ConvRig(device, c).All());
  });
}

}  // namespace
}  // namespace mariana
