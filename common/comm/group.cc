// The workers of one process: who may call what when, and how a failure reaches everyone.
#include <glog/logging.h>

#include <algorithm>
#include <array>

#include "common/base/error.h"
#include "common/comm/device_link.h"
#include "common/comm/host_link.h"
#include "common/comm/meeting.h"
#include "common/comm/progress.h"
#include "common/comm/remote_link.h"
#include "common/comm/schedule.h"
#include "common/comm/wire.h"
#include "common/comm/world.h"

namespace mariana {
namespace {

enum WaitKind { kCollectWait, kCommitWait, kValuesWait, kWaitKinds };

// One worker's end. Holds the protocol: each bucket goes idle -> collected -> (Commit) -> idle,
// and idle -> distributed -> (WaitValues) -> idle, once each per Commit.
class Member : public Exchange {
 public:
  Member(int worker, const ExchangeOptions& options, ProgressEngine* progress, Meeting* meeting,
         const Failure* failure)
      : worker_(worker),
        options_(options),
        progress_(progress),
        meeting_(meeting),
        failure_(failure),
        buckets_(options.buckets.size()) {}

  int worker() const override { return worker_; }
  int workers() const override { return options_.workers; }
  Range Owned(int bucket) const override {
    return SliceOf(options_.buckets.at(bucket), worker_, options_.workers);
  }

  void Collect(int bucket) override {
    failure_->ThrowIfSet();
    Bucket& b = At(bucket);
    CHECK(!b.distributed) << "Collect of bucket " << bucket << " before WaitValues";
    CHECK(!b.collected) << "bucket " << bucket << " is collected twice";
    b.collected = true;
    finished_ = false;
    progress_->Start(Phase::kCollect, bucket);
  }

  void FinishCollect() override {
    failure_->ThrowIfSet();
    const Timer timer(this, kCollectWait);
    progress_->WaitOwned();
    failure_->ThrowIfSet();
    finished_ = true;
  }

  CommitValues Commit(const CommitValues& mine) override {
    failure_->ThrowIfSet();
    CHECK(finished_) << "Commit before FinishCollect";
    for (size_t b = 0; b < buckets_.size(); ++b) {
      CHECK(!buckets_[b].distributed) << "Commit before WaitValues of bucket " << b;
    }
    const Timer timer(this, kCommitWait);
    const CommitValues total = meeting_->Commit(worker_, mine);
    progress_->Drain();
    failure_->ThrowIfSet();
    for (size_t b = 0; b < buckets_.size(); ++b) {
      // Every owner has its sum, so all that led there is over, here too.
      CHECK(progress_->AtRest(Phase::kCollect, static_cast<int>(b))) << "bucket " << b;
      buckets_[b] = Bucket();
    }
    return total;
  }

  void GatherHost(const float* mine, int64_t n, std::vector<float>* all) override {
    const Timer timer(this, kCommitWait);
    meeting_->Gather(worker_, mine, n, all);
  }

  void Distribute(int bucket) override {
    failure_->ThrowIfSet();
    Bucket& b = At(bucket);
    CHECK(!b.collected) << "Distribute of bucket " << bucket << " before Commit";
    CHECK(!b.spread) << "bucket " << bucket << " is distributed twice without a Commit";
    b.distributed = b.spread = true;
    if (values_ != nullptr) {
      const Range own = Owned(bucket);
      Round(options_.distribute_wire, kValueScale, values_ + own.begin, own.size());
    }
    progress_->Start(Phase::kDistribute, bucket);
  }

  void WaitValues(int bucket) override {
    failure_->ThrowIfSet();
    Bucket& b = At(bucket);
    if (!b.distributed) return;
    const Timer timer(this, kValuesWait);
    progress_->WaitBucket(Phase::kDistribute, bucket);
    failure_->ThrowIfSet();
    b.distributed = false;
  }

  std::vector<double> WaitSeconds() const override { return {waited_.begin(), waited_.end()}; }

  // The arena in which owners round; null where the host cannot: its links do.
  void set_values(float* values) { values_ = values; }

 private:
  struct Bucket {
    bool collected = false;    // until Commit
    bool distributed = false;  // until WaitValues
    bool spread = false;       // distributed since the last Commit
  };

  // Adds the time until it goes out of scope to what the worker waited.
  class Timer {
   public:
    Timer(Member* member, WaitKind kind)
        : member_(member), kind_(kind), start_(member->options_.clock->NowNs()) {}
    ~Timer() { member_->waited_[kind_] += 1e-9 * (member_->options_.clock->NowNs() - start_); }

   private:
    Member* const member_;
    const WaitKind kind_;
    const int64_t start_;
  };

  Bucket& At(int bucket) {
    CHECK(0 <= bucket && bucket < static_cast<int>(buckets_.size())) << "bucket " << bucket;
    return buckets_[bucket];
  }

  const int worker_;
  const ExchangeOptions& options_;
  ProgressEngine* const progress_;
  Meeting* const meeting_;
  const Failure* const failure_;
  float* values_ = nullptr;
  std::vector<Bucket> buckets_;
  bool finished_ = true;  // FinishCollect since the last Collect
  std::array<double, kWaitKinds> waited_{};
};

class ProcessGroup : public ExchangeGroup, private WorldListener {
 public:
  explicit ProcessGroup(const ExchangeOptions& options)
      : options_(options),
        rank_(options.world != nullptr ? options.world->rank() : 0),
        first_(FirstOf(rank_)),
        meeting_(options.clock, options.workers, first_, FirstOf(rank_ + 1) - first_, options.world,
                 &failure_),
        workers_(static_cast<size_t>(options.workers)) {
    for (int w = first_; w < FirstOf(rank_ + 1); ++w) {
      workers_[w] = std::make_unique<Worker>(w, this);
    }
    const std::vector<LinkBytes> links = LinksOf(options);
    for (size_t i = 0; i < links.size(); ++i) Connect(links[i].from, links[i].to, i);
    if (remote()) {
      MeetRanks(links.size());
      options.world->Listen(this);
    }
  }

  ~ProcessGroup() override {
    for (auto& w : workers_) {
      if (w) w->progress.Drain();
    }
    if (remote()) options_.world->Listen(nullptr);
    for (auto& w : workers_) {
      if (w) w->progress.Stop();
    }
    for (auto& w : workers_) {
      if (w) w->progress.Join();
    }
  }

  Exchange* Join(int worker, Device* device, float* grads, float* values,
                 std::function<void(int64_t, int64_t)> on_values) override {
    CHECK(0 <= worker && worker < options_.workers && workers_[worker]) << "worker " << worker;
    const bool host_memory = device == nullptr || device->info().host_memory;
    CHECK(host_memory || options_.device_memory || options_.make_link) << device->info().name;
    Worker* const w = workers_[worker].get();
    CHECK(!w->joined) << "worker " << worker << " joins twice";
    w->joined = true;
    CHECK(!options_.device_memory || device != nullptr) << "worker " << worker;
    w->arenas = {grads, values, options_.device_memory ? device : nullptr};
    w->member.set_values(host_memory ? values : nullptr);
    if (options_.workers > 1) {
      w->progress.Run(std::move(on_values), [this, worker](const std::exception& e) {
        const auto* error = dynamic_cast<const Error*>(&e);
        const ExitCode code = error != nullptr ? error->code() : ExitCode::kInternal;
        Abort(worker, "exchange", static_cast<int>(code), e.what());
      });
    }
    return &w->member;
  }

  void Abort(int worker, const std::string& phase, int exit_code,
             const std::string& message) override {
    const std::string where =
        remote() ? StrCat(" (rank ", rank_, ", ", options_.world->node(), ")") : "";
    const Error error = Fail(static_cast<ExitCode>(exit_code), "worker ", worker, where, ", ",
                             phase, ": ", message);
    if (EndAll(error) && remote()) options_.world->Abort(error);
  }

  std::vector<LinkBytes> Traffic() const override {
    std::vector<LinkBytes> traffic;
    for (const auto& link : links_) traffic.push_back(link->bytes());
    return traffic;
  }

 private:
  struct Worker {
    Worker(int w, ProcessGroup* group)
        : progress(w, group->options_.workers, group->options_.clock,
                   Schedules(group->options_, w)),
          member(w, group->options_, &progress, &group->meeting_, &group->failure_) {}
    Arenas arenas;
    ProgressEngine progress;
    Member member;
    bool joined = false;
  };

  static ProgressEngine::Schedule Schedules(const ExchangeOptions& o, int worker) {
    ProgressEngine::Schedule schedule;
    for (Phase phase : {Phase::kCollect, Phase::kDistribute}) {
      const Wire wire = phase == Phase::kCollect ? o.collect_wire : o.distribute_wire;
      schedule.emplace_back();
      for (const Range& bucket : o.buckets) {
        schedule.back().push_back(MakeSchedule(o, worker, phase, bucket, o.chunk_elements, wire));
      }
    }
    return schedule;
  }

  bool remote() const { return options_.world != nullptr && options_.world->size() > 1; }
  int RankOf(int worker) const {
    return options_.rank_of.empty() ? rank_ : options_.rank_of.at(static_cast<size_t>(worker));
  }
  // The first worker of a rank.
  int FirstOf(int rank) const {
    const auto& ranks = options_.rank_of;
    if (ranks.empty()) return rank <= rank_ ? 0 : options_.workers;
    CHECK_EQ(static_cast<int>(ranks.size()), options_.workers);
    return static_cast<int>(std::lower_bound(ranks.begin(), ranks.end(), rank) - ranks.begin());
  }
  int channels(size_t links) const { return static_cast<int>(links) * Lanes().per_link(); }
  Channels Lanes() const { return {static_cast<int>(options_.buckets.size()), options_.workers}; }

  void Connect(int from, int to, size_t index) {
    Worker* const sender = workers_[from].get();
    Worker* const receiver = workers_[to].get();
    if (sender == nullptr && receiver == nullptr) return;
    LinkEnds ends{from, to};
    if (sender != nullptr) ends.sender = &sender->arenas;
    if (receiver != nullptr) {
      ends.receiver = &receiver->arenas;
      ends.arrivals = &receiver->progress;
    }
    const RemoteEnd end{options_.world,
                        RankOf(receiver != nullptr ? from : to),
                        static_cast<int>(index),
                        Lanes(),
                        {options_.collect_wire, options_.distribute_wire}};
    if (options_.make_link) {
      links_.push_back(options_.make_link(ends));
    } else if (sender != nullptr && receiver != nullptr && options_.device_memory) {
      links_.push_back(std::make_unique<DeviceLink>(ends));
    } else if (sender != nullptr && receiver != nullptr) {
      const auto& buckets = options_.buckets;
      const int64_t elements = buckets.empty() ? 0 : buckets.back().end;
      links_.push_back(std::make_unique<HostLink>(ends, elements * int64_t{sizeof(float)}));
    } else if (sender != nullptr) {
      auto link = std::make_unique<OutgoingLink>(ends, end);
      outgoing_.push_back(link.get());
      links_.push_back(std::move(link));
    } else {
      auto link = std::make_unique<IncomingLink>(ends, end);
      incoming_[end.link] = link.get();
      links_.push_back(std::move(link));
    }
    if (sender != nullptr) sender->progress.ConnectTo(to, links_.back().get());
    if (receiver != nullptr) receiver->progress.ConnectFrom(from, links_.back().get());
  }

  // All ranks have left their former group, and mean the same exchange.
  void MeetRanks(size_t links) {
    World* const world = options_.world;
    if (channels(links) > world->channels()) {
      throw Fail(ExitCode::kUsage, "the exchange needs ", channels(links), " message tags of ",
                 world->channels(), ": raise parallel.bucket_bytes");
    }
    std::string mine = StrCat(Name(options_.topology), ", ", options_.workers, " workers, ",
                              Name(options_.collect_wire), "/", Name(options_.distribute_wire),
                              ", chunks of ", options_.chunk_elements, ", ranks");
    for (int r : options_.rank_of) mine += StrCat(" ", r);
    mine += ", nodes";
    for (int n : options_.node_of) mine += StrCat(" ", n);
    mine += ", buckets";
    for (const Range& b : options_.buckets) mine += StrCat(" ", b.begin, "-", b.end);
    for (const std::string& other : world->Gather(mine, World::kMeetingTag)) {
      CHECK(other == mine) << "ranks differ: " << other << " and " << mine;
    }
  }

  // ---- of the world's threads
  void Arrived(std::shared_ptr<BulkMessage> message) override {
    const auto link = incoming_.find(message->channel() / Lanes().per_link());
    CHECK(link != incoming_.end()) << "channel " << message->channel();
    link->second->Arrived(std::move(message));
  }
  void Failed(const Error& error) override {
    EndAll(error);
    // Also when the group had ended before: who drains waits for the world's failure, not for that.
    for (OutgoingLink* link : outgoing_) link->Wake();
  }

  bool EndAll(const Error& error) {
    if (!failure_.Set(error)) return false;
    meeting_.Wake();
    for (auto& w : workers_) {
      if (w) w->progress.Stop();
    }
    return true;
  }

  const ExchangeOptions options_;
  const int rank_, first_;
  Failure failure_;
  Meeting meeting_;
  std::vector<std::unique_ptr<Worker>> workers_;  // null: in another process
  std::vector<std::unique_ptr<Link>> links_;      // as LinksOf; gone before the workers
  std::vector<OutgoingLink*> outgoing_;
  std::map<int, IncomingLink*> incoming_;  // by index in LinksOf
};

}  // namespace

std::unique_ptr<ExchangeGroup> ExchangeGroup::Make(const ExchangeOptions& options) {
  CHECK_GE(options.workers, 1);
  CHECK(!options.device_memory ||
        (options.collect_wire == Wire::kF32 && options.distribute_wire == Wire::kF32));
  ExchangeOptions o = options;
  if (o.clock == nullptr) o.clock = Clock::Real();
  if (o.world == nullptr) o.rank_of.clear();
  return std::make_unique<ProcessGroup>(o);
}

}  // namespace mariana
