#include "common/data/images/image_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kLargestImage = int64_t{1} << 30;

}  // namespace

InputFile::InputFile(const std::string& path)
    : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  struct stat info;
  if (fd_ < 0 || fstat(fd_, &info) != 0) {
    const int error = errno;
    if (fd_ >= 0) close(fd_);
    throw Fail(ExitCode::kBadData, path, ": cannot open: ", strerror(error));
  }
  if (!S_ISREG(info.st_mode)) {
    close(fd_);
    throw Fail(ExitCode::kBadData, path, ": is not a plain file");
  }
  size_ = info.st_size;
  mtime_ns_ = int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
}

InputFile::~InputFile() { close(fd_); }

size_t InputFile::ReadAt(int64_t offset, void* to, size_t n) const {
  size_t done = 0;
  while (done < n) {
    const ssize_t got =
        pread(fd_, static_cast<char*>(to) + done, n - done, offset + static_cast<int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Fail(ExitCode::kIo, path_, ": cannot read: ", strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

void InputFile::Read(int64_t offset, int64_t size, const std::string& where,
                     std::vector<uint8_t>* bytes) const {
  if (size > kLargestImage) {
    throw Fail(ExitCode::kBadData, where, ": ", size, " bytes are too many for an image");
  }
  bytes->resize(static_cast<size_t>(size));
  if (ReadAt(offset, bytes->data(), bytes->size()) != bytes->size()) {
    throw Fail(ExitCode::kBadData, where, ": the file ends before byte ", offset + size);
  }
}

void ReadImageFile(const std::string& path, ImageBytes* bytes) {
  const InputFile file(path);
  if (file.size() == 0) throw Fail(ExitCode::kBadData, path, ": is empty");
  bytes->channels = bytes->width = bytes->height = 0;
  file.Read(0, file.size(), path, &bytes->bytes);
}

}  // namespace mariana
