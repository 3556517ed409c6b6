#include "common/train/ranks.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "common/train/signals.h"

namespace mariana {
namespace {

// Rank 0 of a job, here; the other ranks are processes of their own.
class Job {
 public:
  explicit Job(int ranks, double silence_seconds = 60) : ranks_(ranks) {
    Lifeline::Options o = OptionsOf(0, silence_seconds);
    o.on_failure = [this](const RankFailure& f) {
      std::lock_guard<std::mutex> lock(mutex_);
      failure_ = f;
      changed_.notify_all();
    };
    o.on_overdue = [this](const RankFailure&) {
      std::lock_guard<std::mutex> lock(mutex_);
      overdue_ = true;
      changed_.notify_all();
    };
    zero_ = std::make_unique<Lifeline>(std::move(o));
    const std::string address = zero_->Open(true);
    for (int r = 1; r < ranks; ++r) {
      const pid_t pid = fork();
      if (pid == 0) {
        RunRank(r, silence_seconds, address);
      }
      children_.push_back(pid);
    }
    zero_->Start();
  }
  ~Job() {
    zero_.reset();
    for (const pid_t pid : children_) {
      if (pid < 0) continue;
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    ForgetStopRequest();
  }

  void Signal(int rank, int signal) { kill(children_[static_cast<size_t>(rank) - 1], signal); }
  RankFailure AwaitFailure() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return failure_.has_value(); });
    return *failure_;
  }
  void AwaitOverdue() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return overdue_; });
  }
  int ExitCodeOf(int rank) {
    int status = 0;
    pid_t& child = children_[static_cast<size_t>(rank) - 1];
    waitpid(child, &status, 0);
    child = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  Lifeline::Options OptionsOf(int rank, double silence_seconds) const {
    Lifeline::Options o;
    o.rank = rank;
    o.ranks = ranks_;
    o.beat_seconds = 0.02;
    o.silence_seconds = silence_seconds;
    o.grace_seconds = 0.1;
    o.phase = [] { return "backward"; };
    return o;
  }

  // Ends with the code of the failure that it hears of. SIGUSR2: fails by itself.
  [[noreturn]] void RunRank(int rank, double silence_seconds, const std::string& address) const {
    static volatile sig_atomic_t fails = 0;
    signal(SIGUSR2, [](int) { fails = 1; });
    HandleStopSignals("rank", StopNotice::kNone);
    std::optional<Lifeline> lifeline;
    Lifeline::Options o = OptionsOf(rank, silence_seconds);
    o.on_failure = [](const RankFailure& f) {
      _exit(f.phase == "backward" ? static_cast<int>(f.code) : 1);
    };
    lifeline.emplace(std::move(o));
    lifeline->Reach(address);
    lifeline->Start();
    while (fails == 0) usleep(1000);
    lifeline->Fail({rank, "backward", ExitCode::kBadData, "feats.ark: truncated"});
    lifeline->AwaitFirstRank(60);
    _exit(0);
  }

  const int ranks_;
  std::unique_ptr<Lifeline> zero_;
  std::vector<pid_t> children_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<RankFailure> failure_;
  bool overdue_ = false;
};

}  // namespace

TEST_CASE("a rank that is killed is named with its phase, to all") {
  Job job(4);
  job.Signal(2, SIGKILL);
  const RankFailure failure = job.AwaitFailure();
  CHECK(failure.rank == 2);
  CHECK(failure.code == ExitCode::kLostWorkers);
  CHECK_THAT(failure.ToError().message(), Catch::Matchers::StartsWith("rank 2, ") &&
                                              Catch::Matchers::Contains("without a word"));
  CHECK(job.ExitCodeOf(1) == 77);
  CHECK(job.ExitCodeOf(3) == 77);
  job.AwaitOverdue();
}

TEST_CASE("a rank that is stopped is stuck") {
  Job job(2, 0.5);  // nobody else can be late
  job.Signal(1, SIGSTOP);
  const RankFailure failure = job.AwaitFailure();
  CHECK(failure.rank == 1);
  CHECK(failure.code == ExitCode::kLostWorkers);
  CHECK_THAT(failure.message, Catch::Matchers::Contains("no sign of life"));
}

TEST_CASE("a rank that fails tells all why, and ends after rank 0") {
  Job job(3);
  job.Signal(1, SIGUSR2);
  const RankFailure failure = job.AwaitFailure();
  CHECK(failure.rank == 1);
  CHECK(failure.ToError().code() == ExitCode::kBadData);
  CHECK(failure.ToError().message() == "rank 1, backward: feats.ark: truncated");
  CHECK(job.ExitCodeOf(2) == 65);
}

TEST_CASE("a stop that one rank is asked reaches the others") {
  Job job(3);
  job.Signal(2, SIGTERM);
  while (!StopRequested()) usleep(1000);
  CHECK(StopSignal() == SIGTERM);
}

TEST_CASE("ranks that differ from rank 0 are named") {
  CHECK(Differences("program", {"a 1", "a 1", "a 1"}).empty());
  CHECK(Differences("program", {"a 1", "a 2", "a 1", "a 2", "a 3"}) ==
        "ranks 1 and 3 have program a 2, rank 4 has program a 3, rank 0 a 1");
}

TEST_CASE("ranks know their machines") {
  auto worlds = MakeThreadWorlds({"n1", "n1", "n2"});
  std::vector<std::vector<int>> found(3);
  std::vector<std::thread> threads;
  for (size_t r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      const Ranks ranks(std::move(worlds[r]));
      found[r] = ranks.WorkerNodes(2);
      found[r].insert(found[r].end(), {ranks.machines(), ranks.local_rank(), ranks.local_size()});
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(found[0] == std::vector<int>{0, 0, 0, 0, 1, 1, 2, 0, 2});
  CHECK(found[1] == std::vector<int>{0, 0, 0, 0, 1, 1, 2, 1, 2});
  CHECK(found[2] == std::vector<int>{0, 0, 0, 0, 1, 1, 2, 0, 1});
}

}  // namespace mariana
