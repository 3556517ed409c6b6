#include "common/data/frame_stream.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <stdexcept>

#include "common/base/error.h"
#include "common/base/random.h"

namespace mariana {
namespace {

// Utterance u has Length(u) frames; frame t is {u, t}, its label 1000 * u + t.
class Counting : public UtteranceSource {
 public:
  Counting(int utterances, int longest) : utterances_(utterances), longest_(longest) {}
  int num_utterances() const override { return utterances_; }
  int32_t frames(int u) const override {
    return 1 + static_cast<int32_t>(Philox(7, 7, static_cast<uint64_t>(u)).v[0] % longest_);
  }
  int32_t dim() const override { return 2; }
  bool has_labels() const override { return labelled; }
  int32_t read_rank(int u) const override { return utterances_ - u; }
  void Load(int u, Matrix* features, std::vector<int32_t>* labels) const override {
    if (u == broken) throw Fail(ExitCode::kBadData, "utterance ", u, " is broken");
    *features = {frames(u), 2, {}};
    for (int t = 0; t < frames(u); ++t) {
      features->data.insert(features->data.end(), {1.0f * u, 1.0f * t});
    }
    if (labels == nullptr) return;
    labels->clear();
    for (int t = 0; t < frames(u); ++t) labels->push_back(1000 * u + t);
  }
  int64_t total() const {
    int64_t n = 0;
    for (int u = 0; u < utterances_; ++u) n += frames(u);
    return n;
  }
  bool labelled = true;
  int broken = -1;

 private:
  int utterances_, longest_;
};

FrameStreamOptions Small() {
  FrameStreamOptions o;
  o.seed = 3;
  o.batch_size = 16;
  o.block_frames = 150;
  o.left = 2;
  o.right = 3;
  return o;
}

// What a sample is: its utterance, frame, label, and the frames its window shows.
using Seen = std::vector<int>;

std::vector<std::vector<Seen>> Drain(const Counting& source, const FrameStreamOptions& o,
                                     FrameStream* stream) {
  std::vector<std::vector<Seen>> steps;
  FrameBatch b;
  for (int64_t step = o.first_step; stream->Next(&b); ++step) {
    REQUIRE(b.step == step);
    steps.emplace_back();
    for (int64_t i = 0; i < b.rows(); ++i) {
      Seen s{b.utterance[i], b.frame[i], source.labelled ? b.label[i] : -1};
      for (int k = -o.left; k <= o.right; ++k) {
        const int row = std::clamp(b.center[i] + k, b.begin[i], b.end[i] - 1);
        REQUIRE((row >= 0 && row < b.block->rows));
        REQUIRE(b.block->frames.size() == static_cast<size_t>(2 * b.block->rows));
        REQUIRE(b.block->frames[2 * row] == s[0]);
        s.push_back(static_cast<int>(b.block->frames[2 * row + 1]));
      }
      steps.back().push_back(s);
    }
  }
  REQUIRE_FALSE(stream->Next(&b));  // and stays at the end
  return steps;
}

std::vector<std::vector<Seen>> Epoch(const Counting& source, const FrameStreamOptions& o) {
  FrameStream stream(&source, o);
  auto steps = Drain(source, o, &stream);
  REQUIRE(stream.steps() == static_cast<int64_t>(steps.size()) + o.first_step);
  return steps;
}

// Every frame once with its own label and its true window; every batch full but the last.
void CheckCovers(const Counting& source, const FrameStreamOptions& o,
                 const std::vector<std::vector<Seen>>& steps) {
  std::set<std::pair<int, int>> seen;
  for (size_t k = 0; k < steps.size(); ++k) {
    if (k + 1 < steps.size()) REQUIRE(static_cast<int64_t>(steps[k].size()) == o.batch_size);
    for (const Seen& s : steps[k]) {
      REQUIRE(seen.insert({s[0], s[1]}).second);
      REQUIRE(s[2] == (source.labelled ? 1000 * s[0] + s[1] : -1));
      for (int j = 0; j <= o.left + o.right; ++j) {
        REQUIRE(s[3 + j] == std::clamp(s[1] + j - o.left, 0, source.frames(s[0]) - 1));
      }
    }
  }
  REQUIRE(static_cast<int64_t>(seen.size()) == source.total());
}

TEST_CASE("each frame comes once an epoch, with its label and its own utterance's context") {
  const Counting source(60, 40);
  for (int64_t block : {1, 20, 150, 1 << 18}) {
    for (int64_t batch : {1, 16, 100, 5000}) {
      FrameStreamOptions o = Small();
      o.block_frames = block;
      o.batch_size = batch;
      INFO("block " << block << " batch " << batch);
      CheckCovers(source, o, Epoch(source, o));
    }
  }
}

TEST_CASE("the batches do not depend on threads or prefetch") {
  const Counting source(60, 40);
  FrameStreamOptions o = Small();
  o.readers = 1;
  const auto expected = Epoch(source, o);
  o.readers = 4;
  o.prefetch = 1;
  CHECK(Epoch(source, o) == expected);
}

TEST_CASE("seed and epoch each change the order, and shuffling mixes utterances") {
  const Counting source(60, 40);
  FrameStreamOptions o = Small();
  const auto first = Epoch(source, o);
  CHECK(Epoch(source, o) == first);
  o.epoch = 1;
  const auto second = Epoch(source, o);
  CHECK(second != first);
  o.epoch = 0;
  o.seed = 4;
  CHECK(Epoch(source, o) != first);
  std::set<int> in_batch;
  for (const Seen& s : first[1]) in_batch.insert(s[0]);
  CHECK(in_batch.size() > 3);
}

TEST_CASE("a stream that starts at step k is the tail of the whole one") {
  const Counting source(60, 40);
  for (int64_t block : {20, 150}) {
    FrameStreamOptions o = Small();
    o.block_frames = block;
    const auto whole = Epoch(source, o);
    for (size_t k = 0; k <= whole.size(); ++k) {
      o.first_step = static_cast<int64_t>(k);
      const auto tail = Epoch(source, o);
      REQUIRE(tail == std::vector<std::vector<Seen>>(whole.begin() + k, whole.end()));
    }
  }
}

TEST_CASE("without shuffling frames come in order") {
  Counting source(20, 40);
  source.labelled = false;
  FrameStreamOptions o = Small();
  o.shuffle = false;
  const auto steps = Epoch(source, o);
  CheckCovers(source, o, steps);
  std::pair<int, int> before{-1, 0};
  for (const auto& batch : steps) {
    for (const Seen& s : batch) {
      REQUIRE(before < std::make_pair(s[0], s[1]));
      before = {s[0], s[1]};
    }
  }
}

TEST_CASE("at most three blocks are in memory") {
  const Counting source(200, 40);
  FrameStreamOptions o = Small();
  o.block_frames = 400;
  o.prefetch = 2;
  FrameStream stream(&source, o);
  FrameBatch batch;
  int64_t rows = 0;
  while (stream.Next(&batch)) rows = std::max(rows, batch.block->rows);
  CHECK(stream.peak_blocks() <= 3);
  CHECK(stream.peak_blocks() >= 2);
  CHECK(rows <= 400 + 15 * 6);  // own frames and what was carried in
}

TEST_CASE("a batch may outlive its stream") {
  const Counting source(20, 40);
  FrameBatch batch;
  {
    FrameStream stream(&source, Small());
    REQUIRE(stream.Next(&batch));
  }
  CHECK(batch.block->frames.size() == static_cast<size_t>(2 * batch.block->rows));
}

TEST_CASE("an exception while reading comes out of Next") {
  Counting source(60, 40);
  source.broken = 33;
  for (int readers : {1, 4}) {
    FrameStreamOptions o = Small();
    o.readers = readers;
    FrameStream stream(&source, o);
    FrameBatch batch;
    const auto drain = [&] {
      while (stream.Next(&batch)) {
      }
    };
    CHECK_THROWS_WITH(drain(), "utterance 33 is broken");
    CHECK_THROWS_WITH(stream.Next(&batch), "utterance 33 is broken");
  }
}

TEST_CASE("a stream stops at any moment") {
  const Counting source(60, 40);
  for (int n = 0; n < 30; ++n) {
    FrameStream stream(&source, Small());
    FrameBatch batch;
    for (int i = 0; i < n; ++i) stream.Next(&batch);
  }
  const Counting empty(0, 1);
  FrameStream none(&empty, Small());
  FrameBatch batch;
  CHECK(none.steps() == 0);
  CHECK_FALSE(none.Next(&batch));
}

TEST_CASE("on a virtual clock a slow consumer is named as the limit") {
  const Counting source(60, 40);
  const auto clock = Clock::MakeVirtual();
  const ClockThread registered(clock.get(), "test");
  FrameStreamOptions o = Small();
  o.clock = clock.get();
  FrameStream stream(&source, o);
  FrameBatch batch;
  int64_t steps = 0;
  for (; stream.Next(&batch); ++steps) clock->SleepFor(1000000);
  CHECK(steps == stream.steps());
  const auto stages = stream.Seconds();
  REQUIRE(stages.size() == 3);
  CHECK(stages[2].name == "consume");
  CHECK(stages[2].busy == Approx(0.001 * steps));
  CHECK(stages[1].wait_output > 0);
  CHECK(LimitingStage(stages) == "consume");
}

TEST_CASE("a pipeline ends with the first exception of its stages and wakes the others") {
  Queue<int> queue(Clock::Real(), 1);
  Pipeline pipeline(Clock::Real());
  pipeline.OnStop([&] { queue.Close(); });
  pipeline.AddStage("waits", 2, [&](StageMeter* m) {
    while (m->Pop(&queue)) {
    }
  });
  pipeline.AddStage("throws", 1, [](StageMeter*) { throw std::runtime_error("broken stage"); });
  CHECK_THROWS_WITH(pipeline.Join(), "broken stage");
  CHECK(pipeline.stopping());
  CHECK(pipeline.Seconds()[0].threads == 2);
}

}  // namespace
}  // namespace mariana
