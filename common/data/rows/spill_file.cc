#include "common/data/rows/spill_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {

SpillFile::SpillFile(const std::string& folder, std::string what)
    : folder_(folder), what_(std::move(what)) {
  std::string path = folder + "/mariana-rows.XXXXXX";
  fd_ = mkostemp(path.data(), O_CLOEXEC);
  if (fd_ < 0) {
    throw Fail(ExitCode::kCannotCreate, folder,
               ": cannot create a temporary file: ", strerror(errno));
  }
  unlink(path.c_str());
}

SpillFile::~SpillFile() { close(fd_); }

SpillFile::Place SpillFile::Append(const void* data, size_t bytes) {
  const Place place{bytes_, bytes, Crc32c(data, bytes)};
  const char* p = static_cast<const char*>(data);
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = pwrite(fd_, p + done, bytes - done, bytes_ + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
      throw Fail(ExitCode::kIo, folder_, ": disk full after ", bytes_ >> 20, " MiB of ", what_,
                 "; give them more memory or a folder with more room");
    }
    if (n < 0) {
      throw Fail(ExitCode::kIo, folder_, ": cannot write ", what_, ": ", strerror(errno));
    }
    done += static_cast<size_t>(n);
  }
  bytes_ += static_cast<int64_t>(bytes);
  return place;
}

void SpillFile::Read(const Place& place, void* to) const {
  char* p = static_cast<char*>(to);
  for (size_t done = 0; done < place.bytes;) {
    const ssize_t n =
        pread(fd_, p + done, place.bytes - done, place.offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw Fail(ExitCode::kIo, folder_, ": cannot read ", what_, ": ",
                 n < 0 ? strerror(errno) : "the temporary file is cut short");
    }
    done += static_cast<size_t>(n);
  }
  if (Crc32c(to, place.bytes) != place.crc) {
    throw Fail(ExitCode::kIo, folder_, ": ", what_, " at byte ", place.offset,
               " of the temporary file are not what was written: the disk is failing");
  }
}

void SpillFile::WillRead(const Place& place) const {
  posix_fadvise(fd_, place.offset, static_cast<off_t>(place.bytes), POSIX_FADV_WILLNEED);
}

}  // namespace mariana
