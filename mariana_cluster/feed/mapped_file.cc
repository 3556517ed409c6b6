#include "mariana_cluster/feed/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/error.h"

namespace mariana {

MappedFile::MappedFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  const char* what = nullptr;
  if (fd < 0 || fstat(fd, &info) != 0) {
    what = strerror(errno);
  } else if (!S_ISREG(info.st_mode)) {
    what = "it is not a regular file";
  } else if (info.st_size > 0) {
    size_ = static_cast<size_t>(info.st_size);
    void* mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
      what = strerror(errno);
    } else {
      data_ = static_cast<const char*>(mapped);
    }
  }
  if (fd >= 0) close(fd);
  if (what != nullptr) throw Fail(ExitCode::kBadData, path, ": cannot open: ", what);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

}  // namespace mariana
