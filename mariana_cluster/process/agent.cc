#include "mariana_cluster/process/agent.h"

#include <glog/logging.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "common/base/clock.h"
#include "common/train/signals.h"
#include "mariana_cluster/process/member.h"
#include "mariana_cluster/process/start_process.h"

namespace mariana {
namespace {

constexpr int64_t kLookAtSignalsMs = 50;
constexpr int64_t kLookAtBeatsNs = 250'000'000;
// Without a sign of life, as the agent saw it: of a process that the kernel says is stopped, and of
// any other (a disk may keep it).
constexpr int64_t kStoppedNs = 2'000'000'000, kSilentNs = 60'000'000'000;

bool IsCrash(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGABRT || signal == SIGFPE ||
         signal == SIGILL || signal == SIGTRAP || signal == SIGSYS;
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return StrCat("signal ", signal, name == nullptr ? "" : StrCat(" (SIG", name, ")"));
}

// Whether the kernel says that a signal has stopped it.
bool IsStopped(pid_t pid) {
  std::ifstream file(StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');  // "4711 (name) T ..."
  return name_end != std::string::npos && name_end + 2 < text.size() && text[name_end + 2] == 'T';
}

// Pages that several processes map count in part for each of them.
int64_t ProportionalBytes(pid_t pid) {
  std::ifstream rollup(StrCat("/proc/", pid, "/smaps_rollup"));
  std::string line;
  while (std::getline(rollup, line)) {
    if (line.rfind("Pss:", 0) == 0) return std::strtoll(line.c_str() + 4, nullptr, 10) << 10;
  }
  return 0;  // it has just ended
}

}  // namespace

struct Agent::Member {
  MemberSpec spec;
  pid_t pid = -1;
  int pidfd = -1;
  std::optional<Channel> channel;  // until the peer has closed it
  std::optional<Error> report;     // the Error that it ended with
  bool running = false;
  std::string stuck;  // why the agent killed it
  uint32_t beat = 0;  // when last looked at, and for how long it has been that
  int64_t silent_ns = 0;
  Member() = default;
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;
  ~Member() {
    if (running) {
      kill(pid, SIGKILL);
      int status;
      while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
      }
    }
    if (pidfd >= 0) close(pidfd);
  }
};

Agent::Agent(int members, std::string program)
    : program_(std::move(program)), board_(Board::Create(members)) {}

Agent::~Agent() {
  // All at once first, then one after the other.
  for (const auto& m : members_) {
    if (m->running) kill(m->pid, SIGKILL);
  }
}

int Agent::Start(const MemberSpec& spec) {
  const int index = static_cast<int>(members_.size());
  CHECK_LT(index, board_.members()) << "more members than the agent was made for";
  members_.push_back(std::make_unique<Member>());
  members_.back()->spec = spec;
  Launch(index);
  return index;
}

void Agent::Restart(int member) {
  CHECK(!running(member)) << board_.Describe(member);
  const MemberSpec spec = members_[static_cast<size_t>(member)]->spec;
  members_[static_cast<size_t>(member)] = std::make_unique<Member>();
  members_[static_cast<size_t>(member)]->spec = spec;
  Launch(member);
}

void Agent::Launch(int index) {
  Member& member = *members_[static_cast<size_t>(index)];
  const MemberSpec& spec = member.spec;
  auto [ours, theirs] = Channel::MakePair();
  const pid_t pid = StartProcess({program_, spec.arguments, StrCat(kMemberVariable, "=", index),
                                  theirs.fd(), board_.fd(), spec.nice, spec.outlives});
  if (pid < 0) {
    throw Fail(ExitCode::kIo, "cannot start ", spec.name, ": ", std::strerror(errno));
  }
  member.pid = pid;
  member.running = true;
  member.pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  PCHECK(member.pidfd >= 0) << "pidfd_open";
  member.channel.emplace(std::move(ours));
  member.beat = board_.beats(index);
  board_.SetMember(index, spec.name, pid);
}

bool Agent::running(int member) const { return members_[static_cast<size_t>(member)]->running; }

pid_t Agent::pid(int member) const { return members_[static_cast<size_t>(member)]->pid; }

int Agent::running() const {
  return static_cast<int>(
      std::count_if(members_.begin(), members_.end(), [](const auto& m) { return m->running; }));
}

double Agent::CpuSeconds() const {
  rusage ended = {};
  getrusage(RUSAGE_CHILDREN, &ended);
  const auto seconds = [](const auto& t, double unit) {
    return static_cast<double>(t.tv_sec) + 1e-9 * unit;
  };
  double sum = seconds(ended.ru_utime, 1e3 * static_cast<double>(ended.ru_utime.tv_usec)) +
               seconds(ended.ru_stime, 1e3 * static_cast<double>(ended.ru_stime.tv_usec));
  for (const auto& m : members_) {
    clockid_t clock;
    timespec t;
    if (!m->running || clock_getcpuclockid(m->pid, &clock) != 0) continue;
    if (clock_gettime(clock, &t) == 0) sum += seconds(t, static_cast<double>(t.tv_nsec));
  }
  return sum;
}

int64_t Agent::MemoryBytes() const {
  int64_t bytes = ProportionalBytes(getpid());
  for (const auto& m : members_) {
    if (m->running) bytes += ProportionalBytes(m->pid);
  }
  return bytes;
}

bool Agent::Send(int member, const Message& message) {
  if (static_cast<size_t>(member) >= members_.size()) return false;  // all have been ended
  Member& m = *members_[static_cast<size_t>(member)];
  return m.running && m.channel.has_value() && m.channel->Send(message);
}

void Agent::SendAll(const Message& message) {
  for (size_t i = 0; i < members_.size(); ++i) Send(static_cast<int>(i), message);
}

void Agent::End(const Error& error) {
  board_.Fail(error.message());
  if (error.code() == ExitCode::kLostWorkers) Abandon();
  for (const auto& m : members_) {
    if (m->running) kill(m->pid, SIGKILL);
  }
  members_.clear();  // reaps them
  throw error;
}

// The others first, to their end: what they leave in shared memory stands still then.
void Agent::Abandon() {
  const auto outlives = [](const auto& m) { return m->running && m->spec.outlives; };
  std::vector<std::unique_ptr<Member>> left;
  for (auto& m : members_) {
    if (!outlives(m)) {
      if (m->running) kill(m->pid, SIGKILL);
      continue;
    }
    left.push_back(std::move(m));
  }
  members_.clear();
  for (const auto& m : left) m->running = false;  // it is on its own
}

// What the end of a member means.
Agent::Event Agent::Ended(int index) {
  Member& m = *members_[static_cast<size_t>(index)];
  int status = 0;
  while (waitpid(m.pid, &status, 0) < 0 && errno == EINTR) {
  }
  m.running = false;
  board_.Leave(index);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    Event event;
    event.kind = Event::Kind::kEnded;
    event.member = index;
    return event;
  }
  const std::string who = StrCat(m.spec.name, " (pid ", m.pid, ")");
  if (m.report.has_value()) End(Error(m.report->code(), StrCat(who, ": ", m.report->message())));
  if (WIFEXITED(status)) {
    End(Fail(ExitCode::kInternal, who, " ended with exit code ", WEXITSTATUS(status),
             " and gave no reason"));
  }
  const int signal = WTERMSIG(status);
  if (IsCrash(signal)) End(Fail(ExitCode::kInternal, who, " crashed with ", SignalName(signal)));
  Event event;
  event.kind = Event::Kind::kLost;
  event.member = index;
  event.how = m.stuck.empty() ? StrCat(who, " was killed by ", SignalName(signal))
                              : StrCat(who, " ", m.stuck);
  return event;
}

// A member that is stopped, or that even its thread of beats has given up, holds the others up.
// Time in which the agent itself did not run does not count.
void Agent::KillTheStuck() {
  const int64_t now = Clock::Real()->NowNs();
  const int64_t since = std::min(now - looked_ns_, 2 * kLookAtBeatsNs);
  if (now - looked_ns_ < kLookAtBeatsNs) return;
  looked_ns_ = now;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& m = *members_[i];
    if (!m.running || !m.stuck.empty()) continue;
    const uint32_t beat = board_.beats(static_cast<int>(i));
    m.silent_ns = beat == m.beat ? m.silent_ns + since : 0;
    m.beat = beat;
    if (m.silent_ns < kStoppedNs) continue;
    if (IsStopped(m.pid)) {
      m.stuck = "was stopped (SIGSTOP)";
    } else if (m.silent_ns >= kSilentNs) {
      m.stuck = StrCat("gave no sign of life for ", kSilentNs / 1'000'000'000, " s");
    } else {
      continue;
    }
    kill(m.pid, SIGKILL);
  }
}

// True when something came within the time.
bool Agent::Poll(int64_t timeout_ms, Event* event) {
  std::vector<pollfd> fds;
  std::vector<int> owner;
  const size_t n = members_.size();
  for (size_t i = 0; i < n; ++i) {
    const size_t index = (first_ + i) % n;
    const Member& m = *members_[index];
    if (!m.running) continue;
    // A member's messages are read to their end before its own is looked at.
    fds.push_back({m.channel.has_value() ? m.channel->fd() : m.pidfd, POLLIN, 0});
    owner.push_back(static_cast<int>(index));
  }
  if (poll(fds.data(), fds.size(), static_cast<int>(timeout_ms)) <= 0) return false;
  for (size_t i = 0; i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    Member& m = *members_[static_cast<size_t>(owner[i])];
    first_ = static_cast<size_t>(owner[i]) + 1;
    if (!m.channel.has_value()) {
      *event = Ended(owner[i]);
      return true;
    }
    std::optional<Message> message = m.channel->Receive();
    if (!message.has_value()) {
      m.channel.reset();
    } else if (message->kind == kErrorMessage) {
      m.report = Error(static_cast<ExitCode>(message->number), message->body);
    } else {
      event->kind = Event::Kind::kMessage;
      event->member = owner[i];
      event->message = std::move(*message);
      return true;
    }
  }
  return false;
}

Agent::Event Agent::Next(int64_t timeout_ms) {
  const Clock* clock = Clock::Real();
  const int64_t deadline = clock->NowNs() + timeout_ms * 1'000'000;
  for (;;) {
    if (StopRequested()) board_.RequestStop(StopSignal());
    KillTheStuck();
    Event event;
    if (board_.stop_signal() != 0 && !told_stop_) {
      told_stop_ = true;
      event.kind = Event::Kind::kStop;
      event.signal = board_.stop_signal();
      return event;
    }
    const int64_t left_ms = (deadline - clock->NowNs() + 999'999) / 1'000'000;
    if (Poll(std::clamp<int64_t>(left_ms, 0, kLookAtSignalsMs), &event)) return event;
    if (clock->NowNs() >= deadline) return event;
  }
}

}  // namespace mariana
