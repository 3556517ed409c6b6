#include "common/train/uploaded_batches.h"

#include <catch2/catch.hpp>
#include <numeric>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kBatch = 10, kLast = 7, kSteps = 6, kFirst = 100;

// Sample i of step s is {s, i}, its label 1000 * s + i.
std::shared_ptr<HostBatch> MakeBatch(int64_t step) {
  struct Memory {
    std::vector<float> x;
    std::vector<int32_t> y;
  };
  auto memory = std::make_shared<Memory>();
  auto batch = std::make_shared<HostBatch>();
  batch->rows = step + 1 == kFirst + kSteps ? kLast : kBatch;
  for (int64_t i = 0; i < batch->rows; ++i) {
    memory->x.insert(memory->x.end(), {static_cast<float>(step), static_cast<float>(i)});
    memory->y.push_back(static_cast<int32_t>(1000 * step + i));
  }
  batch->input = memory->x.data();
  batch->labels = memory->y.data();
  batch->keep = memory;
  return batch;
}

class Job {
 public:
  Job(int workers, Clock* clock = nullptr) {
    for (int w = 0; w < workers; ++w) {
      devices_.push_back(MakeCpuDevice(w, 1, -1));
      options.devices.push_back(devices_.back().get());
    }
    options.input = {2};
    options.batch_size = kBatch;
    options.clock = clock;
  }
  std::function<std::shared_ptr<HostBatch>()> Batches() {
    return [this] { return next < kFirst + kSteps ? MakeBatch(next++) : nullptr; };
  }
  DataParallelOptions options;
  int64_t next = kFirst;

 private:
  std::vector<std::unique_ptr<Device>> devices_;
};

UploadedBatches::Options Range(int64_t group, bool always_copy) {
  return {kFirst, kFirst + kSteps, group, always_copy, {}};
}

void CheckRows(const DeviceBatch& batch, int64_t step, int64_t begin, int64_t rows) {
  REQUIRE(batch.input.shape() == Shape{rows, 2});
  REQUIRE(batch.labels.shape() == Shape{rows});
  for (int64_t i = 0; i < rows; ++i) {
    REQUIRE(batch.input.f32()[2 * i] == static_cast<float>(step));
    REQUIRE(batch.input.f32()[2 * i + 1] == static_cast<float>(begin + i));
    REQUIRE(batch.labels.i32()[i] == 1000 * step + begin + i);
  }
}

TEST_CASE("each worker gets its share of each step, in parts, uploaded or as it lies") {
  for (int workers : {1, 3}) {
    for (bool copy : {false, true}) {
      Job job(workers);
      UploadedBatches source(job.options, Range(2, copy), job.Batches());
      for (int64_t step = kFirst; step < kFirst + kSteps; ++step) {
        const int64_t rows = source.Rows(step);
        REQUIRE(rows == (step + 1 == kFirst + kSteps ? kLast : kBatch));
        const std::vector<Share> shares = DealOut(rows, 2, workers);
        for (int w = 0; w < workers; ++w) {
          const Share& share = shares[static_cast<size_t>(w)];
          const int64_t half = share.rows / 2;
          for (const auto& [begin, n] :
               {std::pair<int64_t, int64_t>{0, half}, {half, share.rows - half}}) {
            if (n == 0) continue;
            CheckRows(source.Take(w, step, share.begin + begin, n), step, share.begin + begin, n);
          }
        }
      }
      CHECK(source.Seconds().back().name == "train");
      CHECK(source.Seconds().back().threads == workers);
      CHECK(source.Seconds().size() == (copy ? 2 : 1));
    }
  }
}

TEST_CASE("a device that reads host memory gets the batch itself, which lives as long as needed") {
  Job job(1);
  DeviceBatch kept;
  const void* place = nullptr;
  {
    UploadedBatches source(job.options, Range(0, false), [&] {
      auto batch = job.Batches()();
      if (place == nullptr) place = batch->input;
      return batch;
    });
    kept = source.Take(0, kFirst, 0, kBatch);
    source.Take(0, kFirst + 1, 0, kBatch);
    source.Take(0, kFirst + 2, 0, kBatch);
  }
  CHECK(kept.input.data() == place);
  CheckRows(kept, kFirst, 0, kBatch);
}

TEST_CASE("an exception of the stream comes out of Take, and of every later one") {
  for (bool copy : {false, true}) {
    Job job(1);
    UploadedBatches source(job.options, Range(0, copy), [&] {
      if (job.next == kFirst + 2) throw Error(ExitCode::kBadData, "images: broken");
      return job.Batches()();
    });
    source.Take(0, kFirst, 0, kBatch);
    source.Take(0, kFirst + 1, 0, kBatch);
    CHECK_THROWS_WITH(source.Take(0, kFirst + 2, 0, kBatch), "images: broken");
    CHECK_THROWS_WITH(source.Take(0, kFirst + 2, 0, kBatch), "images: broken");
  }
}

TEST_CASE("uploads may be stopped at any step") {
  for (int64_t steps = 0; steps <= kSteps; ++steps) {
    Job job(2);
    UploadedBatches source(job.options, Range(0, true), job.Batches());
    for (int64_t step = kFirst; step < kFirst + steps; ++step) {
      for (int w = 0; w < 2; ++w) {
        const Share share = DealOut(source.Rows(step), 0, 2)[static_cast<size_t>(w)];
        source.Take(w, step, share.begin, share.rows);
      }
    }
  }
}

TEST_CASE("in virtual time the next step is fetched and uploaded while this one computes") {
  const auto clock = Clock::MakeVirtual();
  const ClockThread registered(clock.get(), "worker");
  Job job(1, clock.get());
  constexpr int64_t kFetch = 900, kCompute = 1000;
  {
    UploadedBatches source(job.options, Range(0, true), [&] {
      clock->SleepFor(kFetch);
      return job.Batches()();
    });
    for (int64_t step = kFirst; step < kFirst + kSteps; ++step) {
      CheckRows(source.Take(0, step, 0, source.Rows(step)), step, 0, source.Rows(step));
      clock->SleepFor(kCompute);
    }
    CHECK(clock->NowNs() == kFetch + kSteps * kCompute);
    const StageSeconds train = source.Seconds().back();
    CHECK(train.wait_input == Approx(kFetch * 1e-9));
    CHECK(train.busy == Approx((kSteps - 1) * kCompute * 1e-9));
  }
}

TEST_CASE("in virtual time the next input waits in the worker's room, from when that is free on") {
  const auto clock = Clock::MakeVirtual();
  const ClockThread registered(clock.get(), "worker");
  Job job(1, clock.get());
  constexpr int64_t kFetch = 300, kBusy = 400, kFree = 600;
  std::vector<float> memory(2 * kBatch);
  UploadedBatches::Options options = Range(0, true);
  options.room = {Tensor(job.options.devices[0], Dtype::kF32, Shape{kBatch, 2},
                         std::shared_ptr<void>(std::shared_ptr<void>(), memory.data()))};
  {
    UploadedBatches source(job.options, options, [&] {
      clock->SleepFor(kFetch);
      return job.Batches()();
    });
    for (int64_t step = kFirst; step < kFirst + kSteps; ++step) {
      const DeviceBatch batch = source.Take(0, step, 0, source.Rows(step));
      CheckRows(batch, step, 0, source.Rows(step));
      CHECK(batch.input.data() != memory.data());
      std::fill(memory.begin(), memory.end(), -1.0f);  // activations
      clock->SleepFor(kBusy);
      CHECK(memory == std::vector<float>(2 * kBatch, -1.0f));
      if (step % 2 == 0) source.HasRoom(0, step);  // else the next step is fetched when asked for
      clock->SleepFor(kFree);
      CheckRows(batch, step, 0, source.Rows(step));
    }
    CHECK(clock->NowNs() == kSteps / 2 * kFetch + kSteps * (kBusy + kFree));
  }
}

}  // namespace
}  // namespace mariana
