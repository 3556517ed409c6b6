// Packet: the bytes of a message of ZeroMQ, counted by reference where they are many, so that who
// sends one can keep it in case it has to be sent again. Socket: what DEALER and ROUTER sockets
// have in common, with errors as Error. Movable values; a socket belongs to one thread at a time.
#pragma once

#include <zmq.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mariana {

class Packet {
 public:
  Packet();
  explicit Packet(int64_t bytes);  // uninitialised
  explicit Packet(std::string_view bytes);
  ~Packet();
  Packet(Packet&& other) noexcept;
  Packet& operator=(Packet&& other) noexcept;
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;
  // The same bytes; nobody changes them any more.
  Packet Share() const;

  char* data() const { return static_cast<char*>(zmq_msg_data(&message_)); }
  int64_t bytes() const { return static_cast<int64_t>(zmq_msg_size(&message_)); }
  std::string_view view() const { return {data(), static_cast<size_t>(bytes())}; }

 private:
  friend class Socket;
  mutable zmq_msg_t message_;
};

// ZeroMQ's threads; outlives its sockets.
class SocketContext {
 public:
  SocketContext();
  ~SocketContext();
  SocketContext(const SocketContext&) = delete;
  SocketContext& operator=(const SocketContext&) = delete;
  void* get() const { return context_; }

 private:
  void* context_;
};

class Socket {
 public:
  Socket(const SocketContext& context, int type);  // ZMQ_DEALER, ZMQ_ROUTER
  ~Socket();                                       // what was not sent is dropped
  Socket(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Error(kIo), naming the address. Bind returns the endpoint with its port.
  std::string Bind(const std::string& address);
  void Connect(const std::string& endpoint);

  // Never waits. False: nobody there to take it, it is dropped.
  bool Send(Packet packet, bool more = false);
  // The next part of a message, if one is there; the parts of one message come together.
  std::optional<Packet> Receive();
  bool more() const;  // whether the part received last has a successor
  void* get() const { return socket_; }

 private:
  void* socket_;
};

}  // namespace mariana
