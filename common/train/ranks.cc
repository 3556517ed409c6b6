#include "common/train/ranks.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "common/base/files.h"
#include "common/comm/mpi/mpi_world.h"
#include "common/train/version.h"

namespace mariana {
namespace {

constexpr double kStartSeconds = 30;

// Ends the process where it does not go away in time: MPI_Init waits for ever for a rank that does
// not start, and nobody can be asked who that is.
class StartTimer {
 public:
  explicit StartTimer(const std::string& program)
      : thread_([this, program] {
          std::unique_lock<std::mutex> lock(mutex_);
          if (ended_.wait_for(lock, std::chrono::duration<double>(kStartSeconds),
                              [this] { return over_; })) {
            return;
          }
          std::fprintf(stderr, "%s: error: start: not all ranks have started within %g s\n",
                       program.c_str(), kStartSeconds);
          _exit(static_cast<int>(ExitCode::kLostWorkers));
        }) {}
  ~StartTimer() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    ended_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;
};

// "1", "1 and 3", "1, 2 and 3".
std::string Listed(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size(); ++i) {
    text += StrCat(i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ", ranks[i]);
  }
  return text;
}

// "1101": this process may run on cores 0, 1 and 3.
std::string OwnCores() {
  cpu_set_t set;
  std::string cores;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int i = 0; i < CPU_SETSIZE; ++i) cores += CPU_ISSET(i, &set) != 0 ? '1' : '0';
  return cores.substr(0, cores.find_last_of('1') + 1);
}

bool Meet(const std::string& a, const std::string& b) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i] == '1' && b[i] == '1') return true;
  }
  return a.empty() || b.empty();
}

// Of a rank that does not speak. Its warnings are in its log.
void BeSilent() {
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  PCHECK(nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0) << "/dev/null";
  close(nowhere);
  FLAGS_stderrthreshold = google::GLOG_FATAL;
}

}  // namespace

bool IsOneOfSeveral() { return StartedByMpi(); }

std::string Differences(const std::string& what, const std::vector<std::string>& values) {
  std::map<std::string, std::vector<int>> others;
  for (size_t r = 1; r < values.size(); ++r) {
    if (values[r] != values[0]) others[values[r]].push_back(static_cast<int>(r));
  }
  std::string text;
  for (const auto& [value, ranks] : others) {
    text += StrCat(ranks.size() == 1 ? "rank " : "ranks ", Listed(ranks),
                   ranks.size() == 1 ? " has " : " have ", what, " ", value, ", ");
  }
  return text.empty() ? text : StrCat(text, "rank 0 ", values[0]);
}

std::unique_ptr<Ranks> Ranks::Join(const std::string& program) {
  if (!IsOneOfSeveral()) return std::make_unique<Ranks>(MakeLocalWorld());
  std::unique_ptr<World> world;
  {
    const StartTimer timer(program);
    world = MakeMpiWorld();
  }
  auto ranks = std::make_unique<Ranks>(std::move(world));
  ranks->program_ = program;
  if (ranks->size() == 1) return ranks;
  if (!ranks->first()) BeSilent();
  ranks->Compare(program);
  ranks->Tie();
  return ranks;
}

Ranks::Ranks(std::unique_ptr<World> world) : world_(std::move(world)) {
  std::vector<std::string> machines;
  local_size_ = core_sharers_ = 0;
  const std::string own_cores = OwnCores();
  const std::vector<std::string> cores = world_->Gather(own_cores);
  for (const std::string& node : world_->Gather(world_->node())) {
    const auto known = std::find(machines.begin(), machines.end(), node);
    const auto r = static_cast<int>(machine_of_.size());
    machine_of_.push_back(static_cast<int>(known - machines.begin()));
    if (known == machines.end()) machines.push_back(node);
    if (node != world_->node()) continue;
    if (r < rank()) ++local_rank_;
    ++local_size_;
    if (Meet(own_cores, cores[static_cast<size_t>(r)])) ++core_sharers_;
  }
}

Ranks::~Ranks() = default;

int Ranks::machines() const {
  return 1 + *std::max_element(machine_of_.begin(), machine_of_.end());
}

bool Ranks::neighbours() const { return std::is_sorted(machine_of_.begin(), machine_of_.end()); }

std::vector<int> Ranks::WorkerNodes(int devices) const {
  std::vector<int> nodes;
  if (!neighbours()) return nodes;
  for (const int machine : machine_of_) nodes.insert(nodes.end(), devices, machine);
  return nodes;
}

void Ranks::CheckSame(const std::string& what, const std::string& value, const std::string& advice,
                      ExitCode code) {
  const std::string differences = Differences(what, Gather(value));
  if (!differences.empty()) throw Fail(code, differences, ": ", advice);
}

// Two builds of one version may differ in their arithmetic, and in what they send each other.
void Ranks::Compare(const std::string& program) {
  char build[16];
  std::snprintf(build, sizeof(build), "%08x", Crc32cOfFile("/proc/self/exe"));
  CheckSame("program", StrCat(program, " ", kVersion, " (build ", build, ")"),
            "start the same build on all machines");
}

void Ranks::Tie() {
  Lifeline::Options o;
  o.rank = rank();
  o.ranks = size();
  o.start_seconds = kStartSeconds;
  o.phase = [this] { return std::string(phase_.load(std::memory_order_relaxed)); };
  o.on_failure = [this](const RankFailure& f) { world_->Fail(f.ToError()); };
  o.on_overdue = [this](const RankFailure& f) { EndNow(f); };
  auto lifeline = std::make_unique<Lifeline>(std::move(o));
  std::string address;
  if (first()) address = lifeline->Open(local_size_ == size());
  address = FromFirst(address);
  if (!first()) lifeline->Reach(address);
  lifeline->Start();
  lifeline_ = std::move(lifeline);
}

bool Ranks::Any(bool mine) {
  for (const std::string& flag : Gather(mine ? "1" : "")) {
    if (!flag.empty()) return true;
  }
  return false;
}

void Ranks::set_last_words(std::function<void(const Error&)> tell) {
  std::lock_guard<std::mutex> lock(mutex_);
  last_words_ = std::move(tell);
}

// A launcher that sees one rank end with a code ends the others by SIGTERM: they are done, too.
void Ranks::Leave() {
  if (size() == 1) return;
  Barrier();
  for (const int signal : {SIGTERM, SIGCONT}) std::signal(signal, SIG_IGN);
  if (lifeline_) lifeline_->Leave();
}

Ranks::Ending Ranks::Settle(const Error& mine) {
  if (size() == 1 || !lifeline_) return {mine, true};
  // The one who lost touch with a dead rank may know before rank 0 does: let that be heard first.
  if (mine.code() == ExitCode::kLostWorkers && !lifeline_->failure()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  const RankFailure failure = lifeline_->Fail(
      {rank(), phase_.load(std::memory_order_relaxed), mine.code(), mine.message()});
  world_->Fail(failure.ToError());
  const bool told = failure.rank == 0 && failure.code == ExitCode::kLostWorkers && !first();
  if (!told) lifeline_->AwaitFirstRank(15);
  return {failure.ToError(), first() || told};
}

Error Ranks::CauseOf(const Error& mine) const {
  const auto failure = lifeline_ ? lifeline_->failure() : std::nullopt;
  return failure ? failure->ToError() : mine;
}

// On the lifeline's thread: the trainer's is stuck in something that the failure cannot end.
void Ranks::EndNow(const RankFailure& failure) {
  const Error error = failure.ToError();
  if (first()) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (last_words_) last_words_(error);
  }
  if (first() || failure.rank == 0) {
    std::fprintf(stderr, "%s: error: %s\n", program_.c_str(), error.message().c_str());
  }
  _exit(static_cast<int>(error.code()));
}

}  // namespace mariana
