// The address of a run's status socket. A Unix socket's path has 107 characters at most; a run
// directory may have more, so the folder is opened and the address goes through /proc/self/fd.
#pragma once

#include <string>

struct sockaddr_un;

namespace mariana {

constexpr char kStatusSocket[] = "status.sock";
constexpr size_t kMostLineBytes = size_t{1} << 28;  // of a request or an answer

class StatusSocket {
 public:
  // Not open where the folder is not there.
  explicit StatusSocket(const std::string& run_dir);
  ~StatusSocket();
  StatusSocket(const StatusSocket&) = delete;
  StatusSocket& operator=(const StatusSocket&) = delete;

  // Descriptors of new sockets; -1, with errno, where it cannot.
  int Listen() const;  // only this user may use it; replaces one that is there
  int Connect() const;
  void Remove() const;

 private:
  bool Fill(sockaddr_un* address) const;
  int folder_ = -1;
};

// All of `text`; false when the peer is gone, or takes nothing for the socket's time-out.
bool SendAll(int fd, const std::string& text);
// Up to the next newline, which is not part of *line; the rest stays in *unread. False at the end
// of what comes.
bool ReceiveLine(int fd, std::string* unread, std::string* line);

}  // namespace mariana
