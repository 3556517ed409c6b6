// Error, Shape, Dtype and the random numbers.
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/base/shape.h"

namespace mariana {
namespace {

std::vector<uint32_t> Words(Philox4 p) { return {p.v[0], p.v[1], p.v[2], p.v[3]}; }

TEST_CASE("Philox gives the known answers of the Random123 distribution") {
  // kat_vectors, philox4x32 10: counter words 0..3 are index and stream, key words the seed.
  CHECK(Words(Philox(0, 0, 0)) ==
        std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Words(Philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0})) ==
        std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Words(Philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88)) ==
        std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a random sequence walks the words of consecutive blocks") {
  RandomSequence sequence(7, kInitStream);
  for (uint64_t index = 0; index < 3; ++index) {
    for (uint32_t word : Words(Philox(7, kInitStream, index))) CHECK(sequence.Bits() == word);
  }
  RandomSequence twin(7, kInitStream), other(7, kDropoutStream), elsewhere(8, kInitStream);
  const float first = RandomSequence(7, kInitStream).Uniform();
  CHECK(twin.Uniform() == first);
  CHECK(other.Uniform() != first);
  CHECK(elsewhere.Uniform() != first);
}

TEST_CASE("ToUnit stays in [0, 1)") {
  CHECK(ToUnit(0) == 0.0f);
  CHECK(ToUnit(UINT32_MAX) < 1.0f);
  CHECK(ToUnit(0x80000000u) == 0.5f);
}

TEST_CASE("uniform and normal draws have the moments they promise") {
  RandomSequence sequence(1, kNoiseStream);
  const int n = 100000;
  double uniform = 0, normal = 0, square = 0, cube = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    uniform += sequence.Uniform();
    const double x = sequence.Normal();
    REQUIRE(std::isfinite(x));
    normal += x;
    square += x * x;
    cube += x * x * x;
    fourth += x * x * x * x;
  }
  CHECK(uniform / n == Approx(0.5).margin(0.005));
  CHECK(normal / n == Approx(0.0).margin(0.015));
  CHECK(square / n == Approx(1.0).margin(0.02));
  CHECK(cube / n == Approx(0.0).margin(0.05));
  CHECK(fourth / n == Approx(3.0).margin(0.1));
}

TEST_CASE("Below is even over its range and takes the high word first") {
  RandomSequence sequence(3, kShuffleStream);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[sequence.Below(7)];
  for (int count : counts) CHECK(count == Approx(10000).epsilon(0.04));
  CHECK(sequence.Below(1) == 0);

  RandomSequence words(3, kShuffleStream), below(3, kShuffleStream);
  const uint64_t high = words.Bits();
  CHECK(below.Below(uint64_t{1} << 63) == ((high << 32 | words.Bits()) & (UINT64_MAX >> 1)));
}

TEST_CASE("a shape counts its elements and prints its extents") {
  CHECK(Shape().rank() == 0);
  CHECK(Shape().elements() == 1);
  CHECK(Shape().ToString() == "[]");
  const Shape shape{2, 3, 4};
  CHECK(shape.elements() == 24);
  CHECK(shape.ToString() == "[2, 3, 4]");
  CHECK(shape[1] == 3);
  CHECK(shape == Shape(std::vector<int64_t>{2, 3, 4}));
  CHECK(shape != Shape{4, 3, 2});
  CHECK(Shape{5, 0}.elements() == 0);
}

TEST_CASE("every dtype has its size and name") {
  const std::vector<std::tuple<Dtype, int64_t, std::string>> all{{Dtype::kF32, 4, "f32"},
                                                                 {Dtype::kBF16, 2, "bf16"},
                                                                 {Dtype::kI32, 4, "i32"},
                                                                 {Dtype::kI64, 8, "i64"},
                                                                 {Dtype::kU8, 1, "u8"}};
  for (const auto& [dtype, bytes, name] : all) {
    CHECK(SizeOf(dtype) == bytes);
    CHECK(Name(dtype) == name);
  }
}

TEST_CASE("an error carries its exit code and one line") {
  const Error error = Fail(ExitCode::kBadData, "feats.ark", ": truncated at byte ", 17);
  CHECK(error.message() == "feats.ark: truncated at byte 17");
  CHECK(std::string(error.what()) == error.message());
  CHECK(static_cast<int>(error.code()) == 65);
  CHECK(StrCat("a", 3, 1.5) == "a31.5");
}

}  // namespace
}  // namespace mariana
