#include "common/base/error.h"
#include "common/device/cpu/cpu_device.h"
#include "tests/common/device/linear_cases.h"

namespace mariana {
namespace {

using device_cases::CheckLinearDifferences;
using device_cases::LinearCase;
using device_cases::LinearRig;

constexpr Activation kAll[] = {Activation::kNone, Activation::kSigmoid, Activation::kTanh,
                               Activation::kRelu};

// Sizes around those of tiles (14 or 6 rows), panels (32) and cache blocks (512 deep, 256 rows).
const LinearCase kShapes[] = {{1, 1, 1},     {1, 17, 3},    {2, 3, 17},    {13, 33, 31},
                              {14, 32, 32},  {15, 31, 33},  {29, 65, 97},  {33, 14, 64},
                              {257, 20, 40}, {30, 520, 50}, {530, 31, 20}, {20, 15, 600}};

// Around what a few columns of outputs take: strips of 256 and vectors of inputs, four rows.
const LinearCase kNarrow[] = {{4, 16, 1}, {131, 300, 1}, {70, 67, 2}, {258, 33, 4}};

// Right, and the same for any number of threads.
void CheckThreads(const Kernels& kernels, LinearCase c) {
  CAPTURE(kernels.isa, c.rows, c.in, c.out, Name(c.input), Name(c.output));
  c.max_rows = c.rows + 5;
  const auto one = MakeCpuDeviceWith(kernels, 0, 1, -1);
  const LinearRig rig(one.get(), c);
  rig.Check();
  for (const int threads : {2, 5}) {
    const auto many = MakeCpuDeviceWith(kernels, 1, threads, -1);
    REQUIRE(LinearRig(many.get(), c).All() == rig.All());
  }
}

// oneDNN emulates bf16 on AVX-512.
bool HasBf16Products() { return UsableKernels().size() > 1; }

TEST_CASE("a linear layer equals its definition for every activation") {
  const auto device = MakeCpuDevice(0, 2, -1);
  for (const Activation a : kAll) {
    LinearCase c{29, 65, 97};
    c.activation = a;
    LinearRig(device.get(), c).Check();
    c.bias = false;
    c.accumulate = true;
    LinearRig(device.get(), c).Check();
  }
}

TEST_CASE("a linear layer is right at sizes that fill no tile, and the same for any threads") {
  for (const Kernels& kernels : UsableKernels()) {
    for (const LinearCase& c : kShapes) CheckThreads(kernels, c);
  }
}

TEST_CASE("a linear layer of a few outputs, in every type that the device has") {
  for (const Kernels& kernels : UsableKernels()) {
    for (LinearCase c : kNarrow) {
      for (const auto& [input, output] : {std::pair{Dtype::kF32, Dtype::kF32},
                                          {Dtype::kBF16, Dtype::kF32},
                                          {Dtype::kBF16, Dtype::kBF16}}) {
        c.input = input;
        c.output = output;
        c.accumulate = c.rows == 70;
        c.bias = c.rows != 4;
        CheckThreads(kernels, c);
      }
    }
  }
}

TEST_CASE("a linear layer of 12000 outputs") {
  const auto device = MakeCpuDevice(0, 2, -1);
  LinearCase c{3, 40, 12000};
  c.activation = Activation::kNone;
  LinearRig(device.get(), c).Check();
}

TEST_CASE("a linear layer's gradients are the differences of its outputs") {
  const auto device = MakeCpuDevice(0, 1, -1);
  for (const Activation a : {Activation::kNone, Activation::kSigmoid, Activation::kTanh}) {
    LinearCase c{4, 5, 6};
    c.activation = a;
    CheckLinearDifferences(device.get(), c);
  }
}

TEST_CASE("gradients accumulate over calls") {
  const auto device = MakeCpuDevice(0, 2, -1);
  LinearCase c{600, 9, 35};  // more rows than one cache block
  c.accumulate = true;
  LinearRig(device.get(), c).Check();
}

TEST_CASE("bf16 layers equal their definition on rounded values") {
  if (!HasBf16Products()) return;
  const auto one = MakeCpuDevice(0, 1, -1), two = MakeCpuDevice(1, 2, -1);
  for (const Dtype output : {Dtype::kBF16, Dtype::kF32}) {
    for (LinearCase c : {LinearCase{5, 33, 17}, LinearCase{1, 17, 70}, LinearCase{40, 16, 8}}) {
      CAPTURE(c.rows, c.in, c.out);
      c.input = Dtype::kBF16;
      c.output = output;
      c.accumulate = c.rows == 5;
      c.max_rows = 40;
      for (const Activation a : kAll) {
        c.activation = a;
        const LinearRig rig(two.get(), c);
        rig.Check();
        REQUIRE(LinearRig(two.get(), c).All() == rig.All());
        LinearRig(one.get(), c).Check();
      }
    }
  }
}

TEST_CASE("a linear layer from f32 to bf16 is refused") {
  const auto device = MakeCpuDevice(0, 1, -1);
  try {
    device->MakeLinear({1, 1, 1, Dtype::kF32, Dtype::kBF16});
    FAIL("no error");
  } catch (const Error& e) {
    REQUIRE(e.code() == ExitCode::kUsage);
    REQUIRE(e.message().find("from f32 to bf16") != std::string::npos);
  }
}

}  // namespace
}  // namespace mariana
