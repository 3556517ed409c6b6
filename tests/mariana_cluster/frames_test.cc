// Frames dealt out to workers, and what the agent tells them of the data.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "mariana_cluster/frame_learner.h"
#include "mariana_cluster/frame_share.h"

namespace mariana {
namespace {

// Utterances of 10 to 59 frames; the features of utterance u are all u.
class Numbered : public UtteranceSource {
 public:
  explicit Numbered(int utterances) : utterances_(utterances) {}
  int num_utterances() const override { return utterances_; }
  int32_t frames(int i) const override { return 10 + i * 7 % 50; }
  int32_t dim() const override { return 1; }
  bool has_labels() const override { return true; }
  int32_t read_rank(int i) const override { return utterances_ - i; }
  void Load(int i, Matrix* features, std::vector<int32_t>* labels) const override {
    features->rows = frames(i);
    features->cols = 1;
    features->data.assign(static_cast<size_t>(frames(i)), static_cast<float>(i));
    labels->assign(static_cast<size_t>(frames(i)), i);
  }

 private:
  int utterances_;
};

std::vector<int> Members(const FrameShare& share) {
  std::vector<int> members;
  Matrix features;
  std::vector<int32_t> labels;
  for (int i = 0; i < share.num_utterances(); ++i) {
    share.Load(i, &features, &labels);
    CHECK(features.rows == share.frames(i));
    members.push_back(labels[0]);
  }
  return members;
}

TEST_CASE("shares hold every utterance once and come to about equal frames") {
  const Numbered all(300);
  int64_t total = 0;
  for (int u = 0; u < 300; ++u) total += all.frames(u);
  for (const int parts : {1, 2, 3, 8}) {
    std::multiset<int> seen;
    for (int p = 0; p < parts; ++p) {
      const FrameShare share(&all, 5, 2, p, parts);
      for (const int u : Members(share)) seen.insert(u);
      CHECK(std::abs(share.total_frames() - total / parts) <= 60);
    }
    CHECK(seen.size() == 300);
    CHECK(std::set<int>(seen.begin(), seen.end()).size() == 300);
  }
}

TEST_CASE("a share depends on seed and epoch alone") {
  const Numbered all(50);
  const auto members = [&](uint64_t seed, int64_t epoch) {
    return Members(FrameShare(&all, seed, epoch, 1, 4));
  };
  CHECK(members(1, 0) == members(1, 0));
  CHECK(members(1, 0) != members(1, 1));
  CHECK(members(1, 0) != members(2, 0));
}

TEST_CASE("with fewer utterances than parts, some parts are empty") {
  const Numbered all(2);
  int utterances = 0;
  for (int p = 0; p < 8; ++p) utterances += FrameShare(&all, 1, 0, p, 8).num_utterances();
  CHECK(utterances == 2);
}

TEST_CASE("what the agent measured comes to workers as it was") {
  FrameFacts facts;
  facts.dim = 3;
  CHECK(FrameFacts::FromBytes(facts.ToBytes()).mean.empty());
  facts.mean = {1, 2, 3};
  facts.scale = {4, 5, 6};
  const FrameFacts same = FrameFacts::FromBytes(facts.ToBytes());
  CHECK(same.dim == 3);
  CHECK(same.mean == facts.mean);
  CHECK(same.scale == facts.scale);
}

}  // namespace
}  // namespace mariana
