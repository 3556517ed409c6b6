#include "common/comm/world_parts.h"

#include <glog/logging.h>

#include <algorithm>

namespace mariana {
namespace {

constexpr int kTagsOfPart = 8;  // what a part may use

// A message as a part sees it.
class PartMessage : public BulkMessage {
 public:
  PartMessage(int from, int channel, std::shared_ptr<BulkMessage> message)
      : BulkMessage(from, channel, message->bytes()), message_(std::move(message)) {}
  void Take(void* into, std::function<void()> done) override {
    message_->Take(into, std::move(done));
  }

 private:
  const std::shared_ptr<BulkMessage> message_;
};

}  // namespace

class WorldParts::Part : public World {
 public:
  // Channels [first_channel, first_channel + channels) of the whole, tags from first_tag on.
  Part(World* whole, std::vector<int> ranks, int first_tag, int64_t first_channel, int64_t channels)
      : World(IndexOf(whole->rank(), ranks), static_cast<int>(ranks.size()), whole->node(),
              whole->clock()),
        whole_(whole),
        ranks_(std::move(ranks)),
        first_tag_(first_tag),
        first_channel_(first_channel),
        channels_(channels) {}

  static int IndexOf(int rank, const std::vector<int>& ranks) {
    const auto at = std::lower_bound(ranks.begin(), ranks.end(), rank);
    CHECK(at != ranks.end() && *at == rank) << "rank " << rank << " has no part in it";
    return static_cast<int>(at - ranks.begin());
  }

  std::string Receive(int from, int tag) override {
    CHECK(0 <= tag && tag < kTagsOfPart) << "tag " << tag;
    if (from == rank()) return World::Receive(from, tag);
    return whole_->Receive(ranks_.at(static_cast<size_t>(from)), first_tag_ + tag);
  }
  void Post(int to, int channel, const void* data, int64_t bytes,
            std::function<void()> sent) override {
    CHECK(0 <= channel && channel < channels_) << "channel " << channel;
    whole_->Post(ranks_.at(static_cast<size_t>(to)), static_cast<int>(first_channel_) + channel,
                 data, bytes, std::move(sent));
  }
  int64_t channels() const override { return channels_; }
  void Abort(const Error& error) override { whole_->Abort(error); }

  void ArrivedAtWhole(std::shared_ptr<BulkMessage> message) {
    const int from = IndexOf(message->from(), ranks_);
    const int channel = message->channel() - static_cast<int>(first_channel_);
    Arrive(std::make_shared<PartMessage>(from, channel, std::move(message)));
  }

 protected:
  void SendTo(int to, int tag, std::string bytes) override {
    CHECK(0 <= tag && tag < kTagsOfPart) << "tag " << tag;
    whole_->Send(ranks_.at(static_cast<size_t>(to)), first_tag_ + tag, std::move(bytes));
  }
  void Quiesce() override { whole_->Quiesce(); }

 private:
  World* const whole_;
  const std::vector<int> ranks_;  // of the whole
  const int first_tag_;
  const int64_t first_channel_, channels_;
};

WorldParts::WorldParts(World* whole, const std::vector<std::vector<int>>& ranks) : whole_(whole) {
  const auto n = static_cast<int>(ranks.size());
  const int64_t channels = whole->channels() / std::max(n, 1);
  if (World::kFirstPartTag + n * kTagsOfPart >= World::kTags - 1) {
    throw mariana::Fail(ExitCode::kUsage, "parallel: ", n,
                        " groups and parts of a model over several processes are too many");
  }
  for (int i = 0; i < n; ++i) {
    const auto& of = ranks[static_cast<size_t>(i)];
    parts_.emplace_back();
    if (of.size() < 2 || std::count(of.begin(), of.end(), whole->rank()) == 0) continue;
    parts_.back() = std::make_unique<Part>(whole, of, World::kFirstPartTag + i * kTagsOfPart,
                                           i * channels, channels);
  }
  whole->Barrier(World::kMeetingTag);  // nobody's messages reach a former user of the world
  whole->Listen(this);
}

WorldParts::~WorldParts() { whole_->Listen(nullptr); }

World* WorldParts::part(int i) const { return parts_.at(static_cast<size_t>(i)).get(); }

void WorldParts::Arrived(std::shared_ptr<BulkMessage> message) {
  const auto part = static_cast<size_t>(message->channel() /
                                        (whole_->channels() / static_cast<int64_t>(parts_.size())));
  CHECK(part < parts_.size() && parts_[part]) << "channel " << message->channel();
  parts_[part]->ArrivedAtWhole(std::move(message));
}

void WorldParts::Failed(const Error& error) {
  for (const auto& part : parts_) {
    if (part) part->Fail(error);
  }
}

}  // namespace mariana
