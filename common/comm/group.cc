// The workers of one process: who may call what when, and how a failure reaches everyone.
#include <glog/logging.h>

#include <array>

#include "common/base/error.h"
#include "common/comm/host_link.h"
#include "common/comm/meeting.h"
#include "common/comm/progress.h"
#include "common/comm/schedule.h"

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
  std::vector<Bucket> buckets_;
  bool finished_ = true;  // FinishCollect since the last Collect
  std::array<double, kWaitKinds> waited_{};
};

class ProcessGroup : public ExchangeGroup {
 public:
  explicit ProcessGroup(const ExchangeOptions& options)
      : options_(options), meeting_(options.clock, options.workers, &failure_) {
    const int n = options.workers;
    for (int w = 0; w < n; ++w) workers_.push_back(std::make_unique<Worker>(w, this));
    for (const LinkBytes& link : LinksOf(options.topology, n)) {
      Worker* const from = workers_[link.from].get();
      Worker* const to = workers_[link.to].get();
      const LinkEnds ends{link.from, link.to, &from->arenas, &to->arenas, &to->progress};
      links_.push_back(options.make_link
                           ? options.make_link(ends)
                           : std::make_unique<HostLink>(ends.from, ends.to, ends.sender,
                                                        ends.receiver, ends.arrivals));
      from->progress.ConnectTo(link.to, links_.back().get());
      to->progress.ConnectFrom(link.from, links_.back().get());
    }
  }

  ~ProcessGroup() override {
    for (auto& w : workers_) w->progress.Stop();
    for (auto& w : workers_) w->progress.Join();
  }

  Exchange* Join(int worker, Device* device, float* grads, float* values,
                 std::function<void(int64_t, int64_t)> on_values) override {
    CHECK(0 <= worker && worker < options_.workers) << "worker " << worker;
    CHECK(options_.make_link || device == nullptr || device->info().host_memory)
        << device->info().name;
    Worker* const w = workers_[worker].get();
    CHECK(!w->joined) << "worker " << worker << " joins twice";
    w->joined = true;
    w->arenas = {grads, values};
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
    if (!failure_.Set(Fail(static_cast<ExitCode>(exit_code), "worker ", worker, ", ", phase, ": ",
                           message))) {
      return;
    }
    meeting_.Wake();
    for (auto& w : workers_) w->progress.Stop();
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
      schedule.emplace_back();
      for (const Range& bucket : o.buckets) {
        schedule.back().push_back(
            MakeSchedule(o.topology, o.workers, worker, phase, bucket, o.chunk_elements));
      }
    }
    return schedule;
  }

  const ExchangeOptions options_;
  Failure failure_;
  Meeting meeting_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Link>> links_;  // as LinksOf; gone before the workers
};

}  // namespace

std::unique_ptr<ExchangeGroup> ExchangeGroup::Make(const ExchangeOptions& options) {
  CHECK_GE(options.workers, 1);
  ExchangeOptions o = options;
  if (o.clock == nullptr) o.clock = Clock::Real();
  return std::make_unique<ProcessGroup>(o);
}

}  // namespace mariana
