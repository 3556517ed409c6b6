#include "common/data/images/image_stream.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <set>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/data/images/image_plan.h"

namespace mariana {
namespace {

// Record i is the number i, of class i % 7; blocks of several sizes.
class Numbers : public ImageSource {
 public:
  explicit Numbers(int64_t size, int64_t block = 0) {
    for (int64_t at = 0; at<size; at += block> 0 ? block : 1 + at % 5) begins_.push_back(at);
    begins_.push_back(size);
    for (int c = 0; c < 7; ++c) classes_.push_back(std::to_string(c));
  }
  int64_t size() const override { return begins_.back(); }
  std::string id(int64_t i) const override { return std::to_string(i); }
  std::string where(int64_t i) const override { return StrCat("numbers: record ", i); }
  int32_t label(int64_t i) const override { return static_cast<int32_t>(i % 7); }
  float target(int64_t) const override { return 0; }
  const std::vector<std::string>& classes() const override { return classes_; }
  int64_t blocks() const override { return static_cast<int64_t>(begins_.size()) - 1; }
  int64_t block_begin(int64_t b) const override { return begins_[static_cast<size_t>(b)]; }
  void Read(int64_t i, ImageBytes* bytes) const override {
    if (clock != nullptr) clock->SleepFor(read_ns);
    ++reads;
    if (unreadable.count(i) > 0) throw Fail(ExitCode::kBadData, where(i), ": cannot be read");
    if (i == failing) throw Fail(ExitCode::kIo, "disk broke");
    bytes->bytes.resize(sizeof(i));
    std::memcpy(bytes->bytes.data(), &i, sizeof(i));
  }

  std::set<int64_t> unreadable;
  int64_t failing = -1;
  Clock* clock = nullptr;
  int64_t read_ns = 0;
  mutable std::atomic<int64_t> reads{0};

 private:
  std::vector<int64_t> begins_;
  std::vector<std::string> classes_;
};

int64_t NumberIn(const ImageBytes& bytes) {
  int64_t i;
  std::memcpy(&i, bytes.bytes.data(), sizeof(i));
  return i;
}

// A sample is two floats: the record, and a draw for it.
ImageStreamOptions Small(const std::set<int64_t>& undecodable = {}) {
  ImageStreamOptions o;
  o.input.height = 1;
  o.input.width = 2;
  o.input.channels = 1;
  o.seed = 3;
  o.batch_size = 16;
  o.shuffle_window = 50;
  o.make_decoder = [undecodable]() -> DecodeImage {
    return [undecodable](const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out) {
      const int64_t i = NumberIn(bytes);
      if (undecodable.count(i) > 0) throw Error(ExitCode::kBadData, "is no image");
      auto* values = static_cast<float*>(out);
      values[0] = static_cast<float>(i);
      values[1] = ToUnit(Philox(seed, kNoiseStream, static_cast<uint64_t>(sample)).v[0]);
    };
  };
  return o;
}

// What a row is: record, draw, label, sample.
using Row = std::vector<double>;
using Steps = std::vector<std::vector<Row>>;

Steps Drain(ImageStream* stream, int64_t first_step = 0) {
  Steps steps;
  ImageBatch b;
  for (int64_t step = first_step; stream->Next(&b); ++step) {
    REQUIRE(b.step == step);
    REQUIRE(reinterpret_cast<uintptr_t>(b.pixels.data()) % 64 == 0);
    steps.emplace_back();
    const auto* values = reinterpret_cast<const float*>(b.pixels.data());
    for (size_t r = 0; r < b.image.size(); ++r) {
      REQUIRE(values[2 * r] == static_cast<float>(b.image[r]));
      REQUIRE(b.label[r] == b.image[r] % 7);
      steps.back().push_back({values[2 * r], values[2 * r + 1], static_cast<double>(b.label[r]),
                              static_cast<double>(b.sample[r])});
    }
  }
  REQUIRE_FALSE(stream->Next(&b));  // and stays at the end
  return steps;
}

Steps Epoch(const Numbers& source, const ImageStreamOptions& o) {
  ImageStream stream(&source, o);
  Steps steps = Drain(&stream, o.first_step);
  REQUIRE(stream.steps() == static_cast<int64_t>(steps.size()) + o.first_step);
  return steps;
}

TEST_CASE("each image comes once an epoch, in full batches but the last") {
  for (int64_t size : {1, 15, 16, 203}) {
    const Numbers source(size);
    for (int64_t window : {1, 50, 1000}) {
      ImageStreamOptions o = Small();
      o.shuffle_window = window;
      const Steps steps = Epoch(source, o);
      std::set<double> seen;
      int64_t sample = 0;
      for (size_t k = 0; k < steps.size(); ++k) {
        if (k + 1 < steps.size()) REQUIRE(steps[k].size() == 16);
        for (const Row& row : steps[k]) {
          REQUIRE(seen.insert(row[0]).second);
          REQUIRE(row[3] == static_cast<double>(sample++));
        }
      }
      REQUIRE(static_cast<int64_t>(seen.size()) == size);
    }
  }
}

TEST_CASE("a window holds whole blocks, and shuffling stays within it") {
  const Numbers source(203);
  const ImagePlan plan(source, {3, 0, 50, true});
  CHECK(plan.size() == 203);
  CHECK(plan.windows() > 2);
  for (int64_t w = 0; w < plan.windows(); ++w) {
    const std::vector<int64_t> order = plan.Order(w);
    REQUIRE(static_cast<int64_t>(order.size()) == plan.start(w + 1) - plan.start(w));
    if (w + 1 < plan.windows()) CHECK((order.size() >= 50 && order.size() < 55));
    const std::set<int64_t> records(order.begin(), order.end());
    for (int64_t b = 0; b < source.blocks(); ++b) {
      int64_t inside = 0;
      for (int64_t i = source.block_begin(b); i < source.block_begin(b + 1); ++i) {
        inside += static_cast<int64_t>(records.count(i));
      }
      CHECK((inside == 0 || inside == source.block_begin(b + 1) - source.block_begin(b)));
    }
    CHECK(plan.WindowOf(plan.start(w)) == w);
    CHECK(plan.WindowOf(plan.start(w + 1) - 1) == w);
  }
}

TEST_CASE("the batches do not depend on threads or prefetch, only on seed and epoch") {
  const Numbers source(203);
  ImageStreamOptions o = Small({10, 11, 60});
  o.max_bad_fraction = 0.1;
  const Steps expected = Epoch(source, o);
  o.io_threads = 3;
  o.cpu_threads = 4;
  o.prefetch = 1;
  CHECK(Epoch(source, o) == expected);
  o.prefetch = 9;
  CHECK(Epoch(source, o) == expected);
  o.epoch = 1;
  const Steps next = Epoch(source, o);
  CHECK(next != expected);
  CHECK(next[0][0][3] == 13 * 16);  // samples of the run go on
  o.epoch = 0;
  o.seed = 4;
  CHECK(Epoch(source, o) != expected);
}

TEST_CASE("a stream that starts at step k is the tail of the whole one, and reads no more") {
  const Numbers source(203);
  ImageStreamOptions o = Small({60});
  o.max_bad_fraction = 0.1;
  const Steps whole = Epoch(source, o);
  for (size_t k = 0; k <= whole.size(); ++k) {
    o.first_step = static_cast<int64_t>(k);
    source.reads = 0;
    REQUIRE(Epoch(source, o) == Steps(whole.begin() + static_cast<int64_t>(k), whole.end()));
    REQUIRE(source.reads <= std::max<int64_t>(203 - o.first_step * 16, 0) + 3);  // and stand-ins
  }
}

TEST_CASE("a broken image is stood in for by the next good record, whatever the threads") {
  Numbers source(40);
  source.unreadable = {5, 39};
  ImageStreamOptions o = Small({6, 20});
  o.max_bad_fraction = 0.1;
  ImageStream stream(&source, o);
  std::map<double, int> times;
  for (const auto& step : Drain(&stream)) {
    for (const Row& row : step) ++times[row[0]];
  }
  CHECK(stream.bad_images() == 4);
  CHECK(times.size() == 36);
  CHECK(times[7] == 3);  // for 5 and 6
  CHECK(times[21] == 2);
  CHECK(times[0] == 2);  // for 39
}

TEST_CASE("in order, broken images are left out, and a batch of nothing else does not come") {
  Numbers source(40);
  source.unreadable = {0, 17};
  for (int64_t i = 32; i < 40; ++i) source.unreadable.insert(i);
  ImageStreamOptions o = Small({3});
  o.shuffle = false;
  o.max_bad_fraction = 1;
  o.cpu_threads = 2;
  ImageStream stream(&source, o);
  const Steps steps = Drain(&stream);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].size() == 14);
  CHECK(steps[1].size() == 15);
  CHECK(steps[0][0][0] == 1);
  CHECK(steps[0][2][0] == 4);
  CHECK(steps[1][14][0] == 31);
  CHECK(steps[1][0][3] == 16);  // a row keeps its sample
}

TEST_CASE("too many broken images end the stream with their count; so does a broken disk") {
  const Numbers source(100);
  ImageStreamOptions o = Small({1, 2, 3});
  o.shuffle = false;
  o.max_bad_fraction = 0.02;
  {
    ImageStream stream(&source, o);
    CHECK_THROWS_WITH(Drain(&stream),
                      "numbers: record 1: is no image; 3 of 100 images are bad, "
                      "max_bad_fraction allows 0.02");
  }
  Numbers all(20);
  for (int64_t i = 0; i < 20; ++i) all.unreadable.insert(i);
  o.shuffle = true;
  o.max_bad_fraction = 1;
  {
    ImageStream stream(&all, o);
    CHECK_THROWS_WITH(Drain(&stream), Catch::Contains("broken images"));
  }
  Numbers broken(100);
  broken.failing = 50;
  for (int threads : {1, 3}) {
    o.io_threads = threads;
    ImageStream stream(&broken, o);
    ImageBatch batch;
    const auto drain = [&] {
      while (stream.Next(&batch)) {
      }
    };
    CHECK_THROWS_WITH(drain(), "disk broke");
    CHECK_THROWS_WITH(stream.Next(&batch), "disk broke");
  }
}

TEST_CASE("a stream stops at any moment; a batch may outlive it; memory is used again") {
  const Numbers source(400);
  for (int n = 0; n < 26; ++n) {
    ImageStreamOptions o = Small();
    o.cpu_threads = 2;
    ImageBatch batch;
    {
      ImageStream stream(&source, o);
      for (int i = 0; i < n; ++i) stream.Next(&batch);
      CHECK(stream.peak_batches() <= o.prefetch + 2);  // the caller's old one and his new one
    }
    if (n > 0) CHECK(batch.pixels.data()[0] == batch.pixels.data()[0]);
  }
  const Numbers none(0, 1);
  ImageStream empty(&none, Small());
  ImageBatch batch;
  CHECK(empty.steps() == 0);
  CHECK_FALSE(empty.Next(&batch));
}

// An epoch in virtual time: decoding takes 1 ms on average, on two threads; the trainer wants
// `share` of what that gives. Returns the part of its time that the trainer works.
double BusyAt(double share, std::string* limit) {
  constexpr int64_t kImages = 6400, kBatch = 64, kDecodeNs = 1000000;
  const auto clock = Clock::MakeVirtual();
  const ClockThread registered(clock.get(), "trainer");
  Numbers source(kImages, 1);
  source.clock = clock.get();
  source.read_ns = kDecodeNs / 10;
  ImageStreamOptions o = Small();
  o.clock = clock.get();
  o.batch_size = kBatch;
  o.cpu_threads = 2;
  o.make_decoder = [&]() -> DecodeImage {
    return [&](const ImageBytes&, uint64_t, int64_t sample, void*) {
      const Philox4 draw = Philox(1, 1, static_cast<uint64_t>(sample));
      clock->SleepFor(static_cast<int64_t>(kDecodeNs * (0.5 + double{ToUnit(draw.v[0])})));
    };
  };
  ImageStream stream(&source, o);
  const auto step_ns = static_cast<int64_t>(kBatch * kDecodeNs / 2 / share);
  ImageBatch batch;
  while (stream.Next(&batch)) clock->SleepFor(step_ns);
  const std::vector<StageSeconds> stages = stream.Seconds();
  REQUIRE(stages.size() == 3);
  *limit = LimitingStage(stages);
  return stages[2].busy / (stages[2].busy + stages[2].wait_input);
}

TEST_CASE(
    "a trainer that wants 90% of what decoding gives is kept busy; at 110% decoding is named") {
  std::string limit;
  CHECK(BusyAt(0.9, &limit) >= 0.97);
  CHECK(limit == "consume");
  CHECK(BusyAt(1.1, &limit) < 0.95);
  CHECK(limit == "decode");
}

}  // namespace
}  // namespace mariana
