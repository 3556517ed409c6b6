// What is the CPU device's own: threads and memory.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "common/device/cpu/pool.h"
#include "common/device/device.h"

namespace mariana {
namespace {

TEST_CASE("a pool runs every task once, run after run") {
  for (const int threads : {1, 2, 5}) {
    Pool pool(threads, 0);
    REQUIRE(pool.threads() == threads);
    std::vector<int> runs(40, 0);
    for (int i = 0; i < 3000; ++i) {
      pool.Run(1 + i % 40, [&](int64_t task) { ++runs[task]; });
    }
    for (int task = 0; task < 40; ++task) REQUIRE(runs[task] == 75 * (40 - task));
  }
}

TEST_CASE("workers that went to sleep wake up") {
  Pool pool(3, -1);
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> done{0};
    pool.Run(3, [&](int64_t) { done.fetch_add(1); });
    REQUIRE(done.load() == 3);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than workers spin
  }
}

TEST_CASE("a split covers the range in whole grains, at most one part a thread") {
  Pool pool(3, -1);
  for (const int64_t n : {0, 1, 15, 16, 17, 100, 1000}) {
    std::vector<int> seen(n, 0);
    std::atomic<int> parts{0};
    pool.Split(n, 16, [&](int64_t begin, int64_t end) {
      parts.fetch_add(1);
      for (int64_t i = begin; i < end; ++i) seen[i] += begin % 16 == 0 ? 1 : 100;
    });
    REQUIRE(seen == std::vector<int>(n, 1));
    REQUIRE(parts.load() == std::min<int64_t>(3, (n + 15) / 16));
  }
}

TEST_CASE("two devices of two threads work side by side") {
  std::vector<double> sums(2);
  std::vector<std::thread> trainers;
  for (int i = 0; i < 2; ++i) {
    trainers.emplace_back([&sums, i] {
      const auto device = MakeCpuDevice(i, 2, 2 * i);
      const int64_t n = 100000;
      auto* x = static_cast<float*>(device->Allocate(n * 4));
      for (int k = 1; k <= 200; ++k) {
        device->Fill(x, static_cast<float>(k), n);
        sums[i] += device->SumOfSquares(x, n);
      }
      device->Free(x);
    });
  }
  for (std::thread& t : trainers) t.join();
  double expected = 0;
  for (double k = 1; k <= 200; ++k) expected += k * k * 100000;
  REQUIRE(sums == std::vector<double>(2, expected));
}

TEST_CASE("memory is aligned and zeroed, small and large, also when used again") {
  const auto device = MakeCpuDevice(0, 1, -1);
  for (const int64_t bytes : {0, 1, 4096, 3 << 20, (2 << 20) + 1}) {
    for (int again = 0; again < 2; ++again) {
      auto* p = static_cast<uint8_t*>(device->Allocate(bytes));
      REQUIRE(reinterpret_cast<uintptr_t>(p) % 64 == 0);
      int64_t sum = 0;
      for (int64_t i = 0; i < bytes; ++i) sum += p[i];
      REQUIRE(sum == 0);
      for (int64_t i = 0; i < bytes; ++i) p[i] = 255;
      device->Free(p);
    }
  }
  device->Free(nullptr);
}

TEST_CASE("too large an allocation names its size") {
  const auto device = MakeCpuDevice(0, 1, -1);
  try {
    device->Allocate(int64_t{1} << 60);
    FAIL("no error");
  } catch (const Error& e) {
    REQUIRE(e.code() == ExitCode::kIo);
    REQUIRE(e.message().find("1152921504606846976 bytes") != std::string::npos);
  }
}

TEST_CASE("the device tells what it is") {
  const DeviceInfo info = MakeCpuDevice(3, 2, -1)->info();
  REQUIRE(info.kind == "cpu");
  REQUIRE(info.name.rfind("cpu:3 (2 threads, avx", 0) == 0);
  REQUIRE(info.threads == 2);
  REQUIRE(info.host_memory);
  REQUIRE(info.native_bf16 == CpuHasNativeBf16());
  REQUIRE(info.memory_bytes > 0);
  REQUIRE(AvailableCores() >= 1);
}

}  // namespace
}  // namespace mariana
