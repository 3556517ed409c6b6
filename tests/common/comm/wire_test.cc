// Numbers as they travel.
#include "common/comm/wire.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/base/random.h"

namespace mariana {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// What the bits of an fp16 number mean, by the book (IEEE 754 binary16).
float Meaning(uint16_t x) {
  const int exponent = (x >> 10) & 31, mantissa = x & 1023;
  const float sign = x & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * kInf;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

TEST_CASE("every fp16 number means what the standard says, and goes back to its own bits") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint16_t x = static_cast<uint16_t>(bits);
    const float meant = Meaning(x), got = FromF16(x);
    if (std::isnan(meant)) {
      REQUIRE(std::isnan(got));
      REQUIRE(std::isnan(FromF16(ToF16(got))));
    } else {
      REQUIRE(got == meant);
      REQUIRE(std::signbit(got) == std::signbit(meant));
      REQUIRE(ToF16(got) == x);
    }
  }
}

TEST_CASE("fp16 is the nearest, the even one between two, and the largest beyond its range") {
  RandomSequence random(3, 0);
  for (int trial = 0; trial < 200000; ++trial) {
    const float x = std::ldexp(2 * random.Uniform() - 1, static_cast<int>(random.Below(44)) - 27);
    const uint16_t rounded = ToF16(x);
    const double error = std::abs(static_cast<double>(Meaning(rounded)) - x);
    for (int step : {-1, 1}) {
      const uint16_t neighbour = static_cast<uint16_t>(rounded + step);
      if (((neighbour ^ rounded) & 0x8000) != 0 || (neighbour & 0x7C00) == 0x7C00) continue;
      REQUIRE(error <= std::abs(static_cast<double>(Meaning(neighbour)) - x));
    }
  }
  for (uint16_t low = 0; low < 0x7BFF; ++low) {  // exactly between two neighbours
    const float middle = (Meaning(low) + Meaning(static_cast<uint16_t>(low + 1))) / 2;
    REQUIRE(ToF16(middle) % 2 == 0);
  }
  CHECK(FromF16(ToF16(1e9f)) == 65504);
  CHECK(FromF16(ToF16(-65520)) == -65504);
  CHECK(FromF16(ToF16(-kInf)) == -kInf);
  CHECK(std::isnan(FromF16(ToF16(std::nanf("")))));
}

TEST_CASE("to travel and to be rounded in place are the same, for any type and scale") {
  RandomSequence random(4, 0);
  const int64_t n = 1001;
  std::vector<float> x(n), base(n);
  for (int64_t i = 0; i < n; ++i) {
    x[i] = std::ldexp(2 * random.Uniform() - 1, static_cast<int>(random.Below(36)) - 30);
    base[i] = random.Uniform();
  }
  x[7] = kInf;
  x[8] = -0.0f;
  for (const Wire wire : {Wire::kF32, Wire::kBf16, Wire::kF16}) {
    for (const float scale : {kValueScale, kGradientScale}) {
      CAPTURE(Name(wire), scale);
      std::vector<char> travels(static_cast<size_t>(n * BytesOf(wire)));
      std::vector<float> arrived(n), rounded = x, added = base, added_at_once = base;
      Pack(wire, scale, x.data(), travels.data(), n);
      Unpack(wire, scale, travels.data(), arrived.data(), n);
      Round(wire, scale, rounded.data(), n);
      AddUnpacked(wire, scale, travels.data(), added.data(), n);
      AddRounded(wire, scale, x.data(), added_at_once.data(), n);
      CHECK(std::memcmp(arrived.data(), rounded.data(), n * 4) == 0);
      CHECK(added == added_at_once);
      const double unit = wire == Wire::kF32 ? 0 : wire == Wire::kBf16 ? 1 / 256.0 : 1 / 2048.0;
      for (int64_t i = 0; i < n; ++i) {
        if (std::isinf(x[i])) continue;
        const double least = wire == Wire::kF16 ? std::ldexp(1.0, -25) / scale : 0;
        REQUIRE(std::abs(arrived[i] - x[i]) <= std::max(unit * std::abs(x[i]), least));
        REQUIRE(added[i] == base[i] + arrived[i]);
      }
    }
  }
}

}  // namespace
}  // namespace mariana
