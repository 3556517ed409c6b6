#include "mariana_cluster/net/packet.h"

#include <glog/logging.h>
#include <malloc.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/error.h"
#include "mariana_cluster/net/frame.h"

namespace mariana {

Packet::Packet() { zmq_msg_init(&message_); }
Packet::Packet(int64_t bytes) {
  CHECK_EQ(zmq_msg_init_size(&message_, static_cast<size_t>(bytes)), 0) << bytes;
}
Packet::Packet(std::string_view bytes) : Packet(static_cast<int64_t>(bytes.size())) {
  if (!bytes.empty()) std::memcpy(data(), bytes.data(), bytes.size());
}
Packet::~Packet() { zmq_msg_close(&message_); }
Packet::Packet(Packet&& other) noexcept : Packet() { zmq_msg_move(&message_, &other.message_); }
Packet& Packet::operator=(Packet&& other) noexcept {
  if (this != &other) zmq_msg_move(&message_, &other.message_);
  return *this;
}
Packet Packet::Share() const {
  Packet copy;
  zmq_msg_copy(&copy.message_, &message_);
  return copy;
}

SocketContext::SocketContext() : context_(zmq_ctx_new()) {
  CHECK(context_ != nullptr);
  // Messages come and go by the hundred kilobytes: their memory stays with the process, or each
  // would fault its pages in anew.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}
SocketContext::~SocketContext() { zmq_ctx_term(context_); }

Socket::Socket(const SocketContext& context, int type) : socket_(zmq_socket(context.get(), type)) {
  CHECK(socket_ != nullptr) << zmq_strerror(zmq_errno());
  const auto set = [&](int option, int value) {
    CHECK_EQ(zmq_setsockopt(socket_, option, &value, sizeof(value)), 0) << option;
  };
  set(ZMQ_LINGER, 0);
  set(ZMQ_SNDHWM, 0);  // who asks bounds what is under way
  set(ZMQ_RCVHWM, 0);
  set(ZMQ_IPV6, 0);
  if (type == ZMQ_ROUTER) set(ZMQ_ROUTER_MANDATORY, 1);
  set(ZMQ_RECONNECT_IVL, 50);
  set(ZMQ_RECONNECT_IVL_MAX, 1000);
  const auto most = kMaxFrameBytes + static_cast<int64_t>(sizeof(FrameHeader));
  CHECK_EQ(zmq_setsockopt(socket_, ZMQ_MAXMSGSIZE, &most, sizeof(most)), 0);
}

Socket::~Socket() {
  if (socket_ != nullptr) zmq_close(socket_);
}

Socket::Socket(Socket&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}

std::string Socket::Bind(const std::string& address) {
  if (zmq_bind(socket_, address.c_str()) != 0) {
    throw Fail(ExitCode::kIo, "cannot listen at ", address, ": ", zmq_strerror(zmq_errno()));
  }
  char endpoint[256];
  size_t bytes = sizeof(endpoint);
  CHECK_EQ(zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, endpoint, &bytes), 0);
  return endpoint;
}

void Socket::Connect(const std::string& endpoint) {
  if (zmq_connect(socket_, endpoint.c_str()) != 0) {
    throw Fail(ExitCode::kIo, "cannot connect to ", endpoint, ": ", zmq_strerror(zmq_errno()));
  }
}

bool Socket::Send(Packet packet, bool more) {
  const int flags = ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0);
  int sent;
  do {
    sent = zmq_msg_send(&packet.message_, socket_, flags);
  } while (sent < 0 && zmq_errno() == EINTR);
  return sent >= 0;
}

std::optional<Packet> Socket::Receive() {
  Packet packet;
  int got;
  do {
    got = zmq_msg_recv(&packet.message_, socket_, ZMQ_DONTWAIT);
  } while (got < 0 && zmq_errno() == EINTR);
  if (got < 0) {
    CHECK_EQ(zmq_errno(), EAGAIN) << zmq_strerror(zmq_errno());
    return std::nullopt;
  }
  return packet;
}

bool Socket::more() const {
  int more = 0;
  size_t bytes = sizeof(more);
  CHECK_EQ(zmq_getsockopt(socket_, ZMQ_RCVMORE, &more, &bytes), 0);
  return more != 0;
}

}  // namespace mariana
