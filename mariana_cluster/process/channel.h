// Channel: messages between the agent and one of its processes, over a pair of Unix sockets that
// keep messages apart (SOCK_SEQPACKET). Between machines the same messages will travel otherwise;
// nothing of the data plane goes here. A message can carry file descriptors (shared memory).
//
// Threading: one thread sends and one receives at a time. Waiting ends when the peer is gone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mariana {

constexpr int64_t kMaxMessageBytes = 64 << 10;
constexpr int kMaxMessageFds = 64;

struct Message {
  std::string kind;  // a word
  int64_t number = 0;
  std::string body;
  std::vector<int> fds;  // sent: stay the sender's; received: the receiver's to close
};

class Channel {
 public:
  explicit Channel(int fd) : fd_(fd) {}  // takes it over
  ~Channel();
  Channel(Channel&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  static std::pair<Channel, Channel> MakePair();  // closed on exec
  int fd() const { return fd_; }

  // False when the peer is gone. CHECKs the limits above.
  bool Send(const Message& message);
  // Waits; nullopt when the peer is gone. Error(kInternal) for what is no message.
  std::optional<Message> Receive();

 private:
  int fd_;
};

}  // namespace mariana
