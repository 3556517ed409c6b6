#include "mariana_cluster/process/channel.h"

#include <glog/logging.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

struct Head {
  int64_t number;
  uint32_t kind_bytes, unused;
};

union FdSpace {
  char bytes[CMSG_SPACE(sizeof(int) * kMaxMessageFds)];
  cmsghdr aligned;
};

}  // namespace

Channel::~Channel() {
  if (fd_ >= 0) close(fd_);
}

std::pair<Channel, Channel> Channel::MakePair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw Fail(ExitCode::kIo, "cannot make a pair of sockets: ", std::strerror(errno));
  }
  return {Channel(ends[0]), Channel(ends[1])};
}

bool Channel::Send(const Message& message) {
  CHECK_LE(message.fds.size(), static_cast<size_t>(kMaxMessageFds));
  Head head = {message.number, static_cast<uint32_t>(message.kind.size()), 0};
  iovec parts[3] = {{&head, sizeof(head)},
                    {const_cast<char*>(message.kind.data()), message.kind.size()},
                    {const_cast<char*>(message.body.data()), message.body.size()}};
  CHECK_LE(sizeof(head) + message.kind.size() + message.body.size(),
           static_cast<size_t>(kMaxMessageBytes))
      << message.kind;
  FdSpace space = {};
  msghdr packet = {};
  packet.msg_iov = parts;
  packet.msg_iovlen = 3;
  if (!message.fds.empty()) {
    const size_t bytes = sizeof(int) * message.fds.size();
    packet.msg_control = space.bytes;
    packet.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(rights), message.fds.data(), bytes);
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd_, &packet, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return true;
  if (errno == EPIPE || errno == ECONNRESET) return false;
  throw Fail(ExitCode::kIo, "cannot send a message: ", std::strerror(errno));
}

std::optional<Message> Channel::Receive() {
  std::string buffer(kMaxMessageBytes, '\0');
  FdSpace space = {};
  iovec part = {buffer.data(), buffer.size()};
  msghdr packet = {};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  packet.msg_control = space.bytes;
  packet.msg_controllen = sizeof(space.bytes);
  ssize_t bytes;
  do {
    bytes = recvmsg(fd_, &packet, MSG_CMSG_CLOEXEC);
  } while (bytes < 0 && errno == EINTR);
  if (bytes == 0 || (bytes < 0 && errno == ECONNRESET)) return std::nullopt;
  if (bytes < 0) throw Fail(ExitCode::kIo, "cannot receive a message: ", std::strerror(errno));
  Head head = {};
  if (static_cast<size_t>(bytes) >= sizeof(head)) std::memcpy(&head, buffer.data(), sizeof(head));
  if (static_cast<size_t>(bytes) < sizeof(head) + head.kind_bytes || head.kind_bytes == 0 ||
      (packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    throw Fail(ExitCode::kInternal, "received ", bytes, " bytes that are no message");
  }
  Message message;
  message.number = head.number;
  message.kind = buffer.substr(sizeof(head), head.kind_bytes);
  message.body = buffer.substr(sizeof(head) + head.kind_bytes,
                               static_cast<size_t>(bytes) - sizeof(head) - head.kind_bytes);
  for (cmsghdr* c = CMSG_FIRSTHDR(&packet); c != nullptr; c = CMSG_NXTHDR(&packet, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    message.fds.resize((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(message.fds.data(), CMSG_DATA(c), message.fds.size() * sizeof(int));
  }
  return message;
}

}  // namespace mariana
