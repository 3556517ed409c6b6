#include "common/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 18;

std::string Reason(int error) {
  if (error == ENOSPC) return "disk full";
  if (error == EDQUOT) return "disk full (quota exceeded)";
  return std::strerror(error);
}

Error WriteError(const std::string& path, int error) {
  return Fail(ExitCode::kIo, "cannot write ", path, ": ", Reason(error));
}

Error CreateError(const std::string& path, int error) {
  if (error == ENOSPC || error == EDQUOT || error == EIO) return WriteError(path, error);
  return Fail(ExitCode::kCannotCreate, "cannot create ", path, ": ", Reason(error));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  int Close() {
    const int fd = fd_;
    fd_ = -1;
    return close(fd);
  }

 private:
  int fd_;
};

// -1 and errno on failure.
int WriteAll(int fd, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = write(fd, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    data += n;
    bytes -= static_cast<size_t>(n);
  }
  return 0;
}

// Pipes and devices cannot be synced, which is fine.
int Sync(int fd) {
  if (fsync(fd) == 0 || errno == EINVAL || errno == EROFS || errno == ENOTSUP) return 0;
  return -1;
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

std::string ReadFile(const std::string& path) {
  const auto fail = [&] {
    return Fail(ExitCode::kBadData, "cannot read ", path, ": ", Reason(errno));
  };
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (fd.get() < 0 || fstat(fd.get(), &info) != 0) throw fail();
  std::string contents;
  // One byte more than a regular file's size finds its end without growing.
  size_t room = S_ISREG(info.st_mode) ? static_cast<size_t>(info.st_size) + 1 : 0;
  for (size_t have = 0;;) {
    if (have == contents.size()) contents.resize(std::max({room, 2 * have, size_t{4096}}));
    const ssize_t n = read(fd.get(), &contents[have], contents.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw fail();
    have += static_cast<size_t>(n);
    if (n == 0) {
      contents.resize(have);
      return contents;
    }
  }
}

uint32_t Crc32cOfFile(const std::string& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string buffer(kBufferBytes, '\0');
  uint32_t crc = 0;
  for (;;) {
    const ssize_t n = file.get() < 0 ? -1 : read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR && file.get() >= 0) continue;
    if (n < 0) throw Fail(ExitCode::kBadData, "cannot read ", path, ": ", Reason(errno));
    if (n == 0) return crc;
    crc = Crc32c(buffer.data(), static_cast<size_t>(n), crc);
  }
}

void WriteFileAtomic(const std::string& path, std::string_view contents) {
  std::string temp;
  int opened = -1;
  for (int n = 0; opened < 0; ++n) {
    temp = StrCat(path, ".tmp.", getpid(), ".", n);
    opened = open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (opened < 0 && errno != EEXIST) throw CreateError(path, errno);
  }
  FileDescriptor fd(opened);
  if (WriteAll(opened, contents.data(), contents.size()) != 0 || Sync(opened) != 0 ||
      fd.Close() != 0) {
    const int error = errno;
    unlink(temp.c_str());
    throw WriteError(path, error);
  }
  if (rename(temp.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(temp.c_str());
    throw CreateError(path, error);
  }
  FsyncDirectory(FolderOf(path));
}

void MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw CreateError(path, error.value());
}

void FsyncDirectory(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || Sync(fd.get()) != 0) throw WriteError(path, errno);
}

void RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) throw Fail(ExitCode::kIo, "cannot remove ", path, ": ", error.message());
}

int64_t FreeBytes(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path existing = std::filesystem::absolute(path, ignored);
  while (!std::filesystem::exists(existing, ignored) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  struct statvfs info;
  if (statvfs(existing.c_str(), &info) != 0) throw WriteError(path, errno);
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

FileWriter::FileWriter(const std::string& path)
    : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (fd_ < 0) throw CreateError(path_, errno);
  buffer_.reserve(kBufferBytes);
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  struct stat info;
  if (fstat(fd_, &info) == 0 && S_ISREG(info.st_mode)) unlink(path_.c_str());  // never a device
  close(fd_);
}

void FileWriter::Append(const void* data, size_t bytes) {
  crc_ = Crc32c(data, bytes, crc_);
  bytes_ += static_cast<int64_t>(bytes);
  if (buffer_.size() + bytes > kBufferBytes) FlushBuffer();
  if (bytes < kBufferBytes) {
    buffer_.append(static_cast<const char*>(data), bytes);
  } else if (WriteAll(fd_, static_cast<const char*>(data), bytes) != 0) {
    throw WriteError(path_, errno);
  }
}

void FileWriter::FlushBuffer() {
  if (WriteAll(fd_, buffer_.data(), buffer_.size()) != 0) throw WriteError(path_, errno);
  buffer_.clear();
}

void FileWriter::Finish() {
  FlushBuffer();
  if (Sync(fd_) != 0) throw WriteError(path_, errno);
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) {
    const int error = errno;
    unlink(path_.c_str());
    throw WriteError(path_, error);
  }
}

}  // namespace mariana
