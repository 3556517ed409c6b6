#include "mariana_cluster/trace/status_server.h"

#include <glog/logging.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace mariana {
namespace {

using nlohmann::json;

constexpr size_t kMostRequestBytes = 4096;
constexpr size_t kMostClients = 64;
constexpr double kMostTracedSeconds = 3600;
constexpr int kPatienceSeconds = 2;  // with a client that does not read

// This user, or root.
bool MayAsk(int fd) {
  ucred peer = {};
  socklen_t bytes = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
         (peer.uid == geteuid() || peer.uid == 0);
}

}  // namespace

StatusServer::StatusServer(const std::string& run_dir, JobTrace* trace, std::function<void()> stop)
    : socket_(run_dir), trace_(trace), stop_(std::move(stop)) {
  listener_ = socket_.Listen();
  if (listener_ < 0) {
    LOG(WARNING) << run_dir << "/" << kStatusSocket << ": " << std::strerror(errno)
                 << ": status, trace and stop will not reach this job";
    return;
  }
  wake_ = eventfd(0, EFD_CLOEXEC);
  PCHECK(wake_ >= 0) << "eventfd";
  thread_ = std::thread([this] { Loop(); });
}

StatusServer::~StatusServer() {
  if (listener_ < 0) return;
  const uint64_t one = 1;
  PCHECK(write(wake_, &one, sizeof(one)) == sizeof(one));
  thread_.join();
  socket_.Remove();
  for (const Client& c : clients_) close(c.fd);
  close(listener_);
  close(wake_);
}

// Sockets know no Clock: the thread waits in poll.
void StatusServer::Loop() {
  for (;;) {
    std::vector<pollfd> fds = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Client& c : clients_) fds.push_back({c.fd, POLLIN, 0});
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) return;
    for (size_t i = fds.size(); i-- > 2;) {
      if (fds[i].revents == 0 || Read(&clients_[i - 2])) continue;
      close(clients_[i - 2].fd);
      clients_.erase(clients_.begin() + static_cast<ptrdiff_t>(i) - 2);
    }
    if (fds[1].revents != 0) Accept();
  }
}

void StatusServer::Accept() {
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  const timeval patience = {kPatienceSeconds, 0};
  if (clients_.size() >= kMostClients || !MayAsk(fd) ||
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0) {
    close(fd);
    return;
  }
  clients_.push_back({fd, ""});
}

bool StatusServer::Read(Client* client) {
  char part[1024];
  const ssize_t n = recv(client->fd, part, sizeof(part), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  client->unread.append(part, static_cast<size_t>(n));
  for (size_t end; (end = client->unread.find('\n')) != std::string::npos;) {
    const json answer = Answer(client->unread.substr(0, end));
    client->unread.erase(0, end + 1);
    if (!SendAll(client->fd, answer.dump(-1, ' ', false, json::error_handler_t::replace) + "\n")) {
      return false;
    }
  }
  return client->unread.size() <= kMostRequestBytes;
}

json StatusServer::Answer(const std::string& line) {
  const json request = json::parse(line, nullptr, false);
  const std::string ask =
      request.is_object() && request.contains("ask") && request["ask"].is_string()
          ? request["ask"].get<std::string>()
          : "";
  if (ask == "status") return trace_->Status();
  if (ask == "spans") return trace_->TakeSpans();
  if (ask == "trace" && request.contains("seconds") && request["seconds"].is_number()) {
    trace_->Trace(std::clamp(request["seconds"].get<double>(), 0.0, kMostTracedSeconds));
    return json::object();
  }
  if (ask == "stop") {
    stop_();
    return json::object();
  }
  return {{"error", "one asks for status, trace (with seconds), spans or stop"}};
}

}  // namespace mariana
