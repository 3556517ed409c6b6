#include "mariana_cluster/trace/status_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace mariana {

StatusSocket::StatusSocket(const std::string& run_dir)
    : folder_(open(run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

StatusSocket::~StatusSocket() {
  if (folder_ >= 0) close(folder_);
}

bool StatusSocket::Fill(sockaddr_un* address) const {
  *address = {};
  address->sun_family = AF_UNIX;
  std::snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s", folder_,
                kStatusSocket);
  return folder_ >= 0;
}

int StatusSocket::Listen() const {
  sockaddr_un address;
  if (!Fill(&address)) return -1;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  unlinkat(folder_, kStatusSocket, 0);
  // The file is made with the socket's mode: there is no moment at which others may connect.
  if (fchmod(fd, 0600) == 0 &&
      bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      listen(fd, 16) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int StatusSocket::Connect() const {
  sockaddr_un address;
  if (!Fill(&address)) return -1;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

void StatusSocket::Remove() const { unlinkat(folder_, kStatusSocket, 0); }

bool SendAll(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

bool ReceiveLine(int fd, std::string* unread, std::string* line) {
  for (size_t looked = 0;;) {
    const size_t end = unread->find('\n', looked);
    if (end != std::string::npos) {
      line->assign(*unread, 0, end);
      unread->erase(0, end + 1);
      return true;
    }
    looked = unread->size();
    char part[65536];
    const ssize_t n = recv(fd, part, sizeof(part), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || unread->size() > kMostLineBytes) return false;
    unread->append(part, static_cast<size_t>(n));
  }
}

}  // namespace mariana
