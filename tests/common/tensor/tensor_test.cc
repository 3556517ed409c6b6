#include "common/tensor/tensor.h"

#include <catch2/catch.hpp>
#include <vector>

namespace mariana {
namespace {

TEST_CASE("a tensor is zeroed and keeps what is uploaded") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const Tensor t(device.get(), Dtype::kF32, {2, 3});
  REQUIRE_FALSE(t.empty());
  REQUIRE(t.device() == device.get());
  REQUIRE(t.elements() == 6);
  REQUIRE(t.bytes() == 24);
  std::vector<float> host(6, 1.0f);
  t.Download(host.data());
  REQUIRE(host == std::vector<float>(6, 0.0f));
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  t.Upload(values.data());
  t.Download(host.data());
  REQUIRE(host == values);
  REQUIRE(Tensor().empty());
}

TEST_CASE("views share the bytes, and keep them when the tensor is gone") {
  const auto device = MakeCpuDevice(0, 1, -1);
  Tensor t(device.get(), Dtype::kF32, {4, 3});
  std::vector<float> values(12);
  for (int i = 0; i < 12; ++i) values[i] = static_cast<float>(i);
  t.Upload(values.data());
  const Tensor rows = t.Rows(1, 2), flat = rows.Reshape({6});
  const Tensor one = rows.Slice(8, Dtype::kF32, {2});
  REQUIRE(rows.shape() == Shape{2, 3});
  REQUIRE(rows.f32() == t.f32() + 3);
  REQUIRE(one.f32() == t.f32() + 5);
  *one.f32() = 99;
  REQUIRE(t.f32()[5] == 99);
  REQUIRE(t.Rows(4, 0).elements() == 0);
  t = Tensor();
  REQUIRE(flat.f32()[2] == 99);
}

TEST_CASE("a slice reads bytes as another type") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const Tensor t(device.get(), Dtype::kF32, {4});
  const std::vector<float> values = {0, 1, 0, 0};
  t.Upload(values.data());
  const Tensor half = t.Slice(4, Dtype::kBF16, {2}), word = t.Slice(4, Dtype::kI32, {1});
  REQUIRE(half.bf16()[1] == 0x3F80);
  REQUIRE(*word.i32() == 0x3F800000);
}

}  // namespace
}  // namespace mariana
