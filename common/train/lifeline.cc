#include "common/train/lifeline.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/train/signals.h"

namespace mariana {
namespace {

using nlohmann::json;
using Time = std::chrono::steady_clock;

double SecondsSince(Time::time_point begin) {
  return std::chrono::duration<double>(Time::now() - begin).count();
}

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

// Of the interfaces that are up, but loopback.
std::vector<std::string> OwnAddresses() {
  std::vector<std::string> all;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return all;
  for (ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != AF_INET) continue;
    if ((i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(i->ifa_addr)->sin_addr, text, sizeof(text));
    all.emplace_back(text);
  }
  freeifaddrs(list);
  return all;
}

std::string MakeToken() {
  unsigned char bytes[16];
  CHECK_EQ(getrandom(bytes, sizeof(bytes), 0), static_cast<ssize_t>(sizeof(bytes)));
  std::string text;
  for (const unsigned char b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

sockaddr_in Address(const std::string& ip, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return address;
}

bool Ready(int fd, short what, double seconds) {
  pollfd p{fd, what, 0};
  return poll(&p, 1, std::max(1, static_cast<int>(seconds * 1000))) > 0;
}

// A connected socket, or -1.
int ConnectTo(const std::string& ip, int port, double seconds) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const sockaddr_in to = Address(ip, port);
  int error = 0;
  socklen_t size = sizeof(error);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 ||
      (errno == EINPROGRESS && Ready(fd, POLLOUT, seconds) &&
       getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)) {
    return fd;
  }
  close(fd);
  return -1;
}

// Lines are short, and few are ever under way: what does not fit is for a peer that is stuck.
void Send(int fd, const std::string& lines) {
  const ssize_t ignored = send(fd, lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  static_cast<void>(ignored);
}

// One line within `seconds`, or "".
std::string ReadLine(int fd, double seconds) {
  const auto begin = Time::now();
  std::string line;
  while (SecondsSince(begin) < seconds) {
    char c = 0;
    if (!Ready(fd, POLLIN, seconds - SecondsSince(begin))) break;
    if (recv(fd, &c, 1, 0) <= 0) break;
    if (c == '\n') return line;
    line += c;
  }
  return "";
}

std::string Line(const json& j) {
  return j.dump(-1, ' ', true, json::error_handler_t::replace) + "\n";
}

json ToJson(const RankFailure& f) {
  return {{"failed", f.rank},
          {"phase", f.phase},
          {"code", static_cast<int>(f.code)},
          {"message", f.message}};
}

}  // namespace

Error RankFailure::ToError() const {
  if (code == ExitCode::kUsage) return Error(code, message);
  const std::string who = StrCat("rank ", rank, ", ", phase, ": ");
  std::string text = who;
  for (const char c : message) {
    text += c;
    if (c == '\n') text += who;  // each line is one of its own
  }
  return Error(code, text);
}

Lifeline::Lifeline(Options options)
    : options_(std::move(options)), wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  CHECK_GE(wake_, 0) << std::strerror(errno);
}

Lifeline::~Lifeline() {
  Leave();
  for (const Peer& p : peers_) close(p.fd);
  if (listener_ >= 0) close(listener_);
  close(wake_);
}

std::string Lifeline::Open(bool one_machine) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in own = Address(one_machine ? "127.0.0.1" : "0.0.0.0", 0);
  socklen_t size = sizeof(own);
  if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&own), size) != 0 ||
      listen(listener_, options_.ranks) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    throw mariana::Fail(ExitCode::kIo, "cannot listen for the other ranks: ", std::strerror(errno));
  }
  token_ = MakeToken();
  std::vector<std::string> addresses{"127.0.0.1"};
  if (!one_machine) addresses = OwnAddresses();
  return json{{"token", token_},
              {"host", HostName()},
              {"port", ntohs(own.sin_port)},
              {"addresses", addresses}}
      .dump();
}

// Any of the addresses may lead nowhere from here, or elsewhere: the answer tells.
void Lifeline::Reach(const std::string& address) {
  const json to = json::parse(address);
  const auto begin = Time::now();
  do {
    for (const std::string& ip : to.at("addresses").get<std::vector<std::string>>()) {
      const int fd = ConnectTo(ip, to.at("port"), 2);
      if (fd < 0) continue;
      Send(fd, Line({{"token", to.at("token")},
                     {"rank", options_.rank},
                     {"host", HostName()},
                     {"phase", options_.phase ? options_.phase() : ""}}));
      if (ReadLine(fd, 5) == to.at("token").get<std::string>()) {
        peers_.emplace_back();
        peers_.back().fd = fd;
        peers_.back().host = to.at("host");
        return;
      }
      close(fd);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (SecondsSince(begin) < options_.start_seconds);
  throw mariana::Fail(ExitCode::kLostWorkers, "rank ", options_.rank,
                      ", start: cannot reach rank 0 on ", to.at("host").get<std::string>(),
                      ", port ", to.at("port").get<int>(),
                      " (where machines have one name, set MARIANA_NODE)");
}

// A stranger's connection is closed.
void Lifeline::Accept(int fd) {
  const json hello = json::parse(ReadLine(fd, 5), nullptr, false);
  if (!hello.is_object() || hello.value("token", "") != token_) {
    close(fd);
    return;
  }
  Send(fd, token_ + "\n");
  Peer peer;
  peer.rank = hello.value("rank", 0);
  peer.fd = fd;
  peer.host = hello.value("host", "");
  peer.phase = hello.value("phase", "");
  peers_.push_back(peer);
}

void Lifeline::Start() {
  const auto begin = Time::now();
  while (listener_ >= 0 && static_cast<int>(peers_.size()) < options_.ranks - 1) {
    const double left = options_.start_seconds - SecondsSince(begin);
    if (left > 0 && Ready(listener_, POLLIN, left)) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) Accept(fd);
      continue;
    }
    if (left > 0) continue;
    std::vector<bool> here(static_cast<size_t>(options_.ranks), false);
    for (const Peer& p : peers_) here[static_cast<size_t>(p.rank)] = true;
    std::string missing;
    for (int r = 1; r < options_.ranks; ++r) {
      if (!here[static_cast<size_t>(r)]) missing += StrCat(missing.empty() ? "" : ", ", r);
    }
    throw mariana::Fail(ExitCode::kLostWorkers, "rank ", missing, ", start: did not come within ",
                        options_.start_seconds, " s");
  }
  // From here on all are heard.
  if (listener_ >= 0) {
    SendAll("start\n");
  } else if (ReadLine(peers_[0].fd, options_.start_seconds) != "start") {
    throw mariana::Fail(ExitCode::kLostWorkers, "rank 0, start: the process on ", peers_[0].host,
                        " does not go on");
  }
  for (const Peer& p : peers_) {
    const int on = 1;
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  thread_ = std::thread([this] { Loop(); });
}

void Lifeline::Beat() {
  SendAll(Line({{"phase", options_.phase ? options_.phase() : ""}, {"stop", StopSignal()}}));
}

void Lifeline::SendAll(const std::string& line) {
  for (const Peer& p : peers_) {
    if (!p.gone) Send(p.fd, line);
  }
}

// Silence is counted in turns of this loop, each of a beat at most: when this process itself was
// stopped for a while, the others have not been silent.
void Lifeline::Loop() {
  auto last_turn = Time::now(), last_beat = last_turn - std::chrono::hours(1);
  std::optional<Time::time_point> failed_at;
  bool overdue = false;
  for (;;) {
    std::vector<pollfd> fds{{wake_, POLLIN, 0}};
    for (const Peer& p : peers_) fds.push_back({p.gone ? -1 : p.fd, POLLIN, 0});
    poll(fds.data(), fds.size(), static_cast<int>(options_.beat_seconds * 1000));
    uint64_t count = 0;
    const ssize_t ignored = read(wake_, &count, sizeof(count));
    static_cast<void>(ignored);

    std::string lines;
    std::optional<RankFailure> failure;
    bool leaving = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      lines = outbox_;
      leaving = leaving_;
      failure = failure_;
    }
    SendAll(lines);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      outbox_.erase(0, lines.size());
    }
    sent_.notify_all();
    if (leaving) return;
    if (SecondsSince(last_beat) >= options_.beat_seconds) {
      Beat();
      last_beat = Time::now();
    }
    const double turn = std::min(SecondsSince(last_turn), options_.beat_seconds);
    last_turn = Time::now();
    for (Peer& p : peers_) {
      if (p.gone) continue;
      p.silent_seconds += turn;
      Read(&p);
      if (!p.gone && p.silent_seconds > options_.silence_seconds) {
        Lost(&p, StrCat("gave no sign of life for ", options_.silence_seconds,
                        " s: stopped, hung, or its machine is gone"));
      }
    }
    if (failure && !failed_at) failed_at = Time::now();
    // Rank 0 has the last word while it lives, however slow the machine is.
    const bool patient = options_.rank != 0 && failure && failure->rank != 0;
    const double grace = options_.grace_seconds * (patient ? 10 : 1);
    if (failed_at && !overdue && SecondsSince(*failed_at) > grace) {
      overdue = true;
      if (options_.on_overdue) options_.on_overdue(*failure);
    }
  }
}

void Lifeline::Read(Peer* peer) {
  char bytes[4096];
  for (;;) {
    const ssize_t n = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (n <= 0) return Lost(peer, "ended without a word: killed, or crashed");
    peer->silent_seconds = 0;
    peer->unread.append(bytes, static_cast<size_t>(n));
    for (size_t end; (end = peer->unread.find('\n')) != std::string::npos;) {
      const std::string line = peer->unread.substr(0, end);
      peer->unread.erase(0, end + 1);
      Take(peer, line);
    }
    if (peer->gone) return;
  }
}

void Lifeline::Take(Peer* peer, const std::string& line) {
  const json j = json::parse(line, nullptr, false);
  if (!j.is_object()) return;
  if (j.contains("left")) {
    peer->gone = true;
  } else if (j.contains("failed")) {
    const RankFailure failure{j.value("failed", 0), j.value("phase", ""),
                              static_cast<ExitCode>(j.value("code", 0)), j.value("message", "")};
    Known(failure);
  } else {
    peer->phase = j.value("phase", "");
    const int stop = j.value("stop", 0);
    if (stop != 0) RequestStop(stop);
  }
}

// One that was only stopped hears of it, too, should it wake up.
void Lifeline::Lost(Peer* peer, const std::string& how) {
  Known({peer->rank, peer->phase, ExitCode::kLostWorkers,
         StrCat("the process on ", peer->host, " ", how)});
  peer->gone = true;
  if (peer->rank != 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  first_gone_ = true;
  first_rank_gone_.notify_all();
}

// The first one counts. Rank 0 passes it on, the others' only way is to rank 0.
void Lifeline::Known(const RankFailure& failure) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_) return;
    failure_ = failure;
  }
  SendAll(Line(ToJson(failure)));
  if (options_.on_failure) options_.on_failure(failure);
}

RankFailure Lifeline::Fail(const RankFailure& mine) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (failure_) return *failure_;
  failure_ = mine;
  outbox_ += Line(ToJson(mine));
  const uint64_t one = 1;
  const ssize_t ignored = write(wake_, &one, sizeof(one));
  static_cast<void>(ignored);
  // The caller may end the process at once: its word has to come before the connection's end.
  sent_.wait_for(lock, std::chrono::seconds(1), [&] { return outbox_.empty() || leaving_; });
  return mine;
}

std::optional<RankFailure> Lifeline::failure() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return failure_;
}

void Lifeline::AwaitFirstRank(double seconds) {
  if (options_.rank == 0) return;
  std::unique_lock<std::mutex> lock(mutex_);
  first_rank_gone_.wait_for(lock, std::chrono::duration<double>(seconds),
                            [&] { return first_gone_; });
}

void Lifeline::Leave() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    leaving_ = true;
    outbox_ += Line({{"left", true}});
    const uint64_t one = 1;
    const ssize_t ignored = write(wake_, &one, sizeof(one));
    static_cast<void>(ignored);
  }
  thread_.join();
}

}  // namespace mariana
