#include "mariana_cluster/table/shared_memory.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int kMadvCollapse = 25;  // glibc 2.36 does not name it yet

int64_t RoundUp(int64_t n) { return (n + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes; }

}  // namespace

SharedMemory SharedMemory::Create(const std::string& name, int64_t bytes) {
  SharedMemory memory;
  memory.name_ = name;
  memory.bytes_ = RoundUp(bytes);
  memory.fd_ = memfd_create(name.c_str(), MFD_CLOEXEC);
  if (memory.fd_ < 0 || ftruncate(memory.fd_, memory.bytes_) != 0) {
    throw Fail(ExitCode::kIo, name, ": cannot reserve ", bytes,
               " bytes of shared memory: ", std::strerror(errno));
  }
  memory.Map();
  return memory;
}

SharedMemory SharedMemory::Attach(int fd, const std::string& name) {
  SharedMemory memory;
  memory.name_ = name;
  memory.fd_ = fd;
  struct stat info;
  if (fstat(fd, &info) != 0 || info.st_size == 0 || info.st_size % kHugePageBytes != 0) {
    throw Fail(ExitCode::kInternal, name, ": descriptor ", fd, " is no shared memory of ours");
  }
  memory.bytes_ = info.st_size;
  memory.Map();
  return memory;
}

void SharedMemory::Map() {
  // A huge page must start at a multiple of its size: reserve one more and start inside.
  void* base = mmap(nullptr, bytes_ + kHugePageBytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base != MAP_FAILED) {
    reserved_ = static_cast<char*>(base);
    data_ =
        reserved_ + (RoundUp(reinterpret_cast<int64_t>(base)) - reinterpret_cast<int64_t>(base));
    base =
        mmap(data_, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd_, 0);
  }
  if (base == MAP_FAILED) {
    throw Fail(ExitCode::kIo, name_, ": cannot map ", bytes_,
               " bytes of shared memory: ", std::strerror(errno));
  }
}

SharedMemory::~SharedMemory() {
  if (reserved_ != nullptr) munmap(reserved_, bytes_ + kHugePageBytes);
  if (fd_ >= 0) close(fd_);
}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(fd_, other.fd_);
  std::swap(reserved_, other.reserved_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void SharedMemory::Commit(int64_t offset, int64_t bytes) const {
  const int64_t end = RoundUp(offset + bytes);
  for (int64_t at = offset / kHugePageBytes * kHugePageBytes; at < end; at += kHugePageBytes) {
    // One page first: a range without any cannot be collapsed, and one with all of them is copied.
    int failed = fallocate(fd_, 0, at, 4096);
    if (failed == 0 && madvise(data_ + at, kHugePageBytes, kMadvCollapse) != 0) {
      failed = fallocate(fd_, 0, at, kHugePageBytes);
    }
    if (failed != 0) {
      throw Fail(ExitCode::kIo, name_, ": no memory left (", std::strerror(errno), ") at ",
                 at >> 20, " MiB; fewer rows, hashing bits or weights a row need less");
    }
  }
}

void SharedMemory::Release(int64_t offset, int64_t bytes) const {
  PCHECK(fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes) == 0) << name_;
}

int64_t SharedMemory::huge_bytes() const {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  const auto begin = reinterpret_cast<uint64_t>(data_);
  uint64_t at = 0, to = 0;
  int64_t kilobytes = 0, sum = 0;
  while (std::getline(maps, line)) {
    uint64_t a, b;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " ", &a, &b) == 2) {
      at = a, to = b;
    } else if (at >= begin && to <= begin + static_cast<uint64_t>(bytes_) &&
               std::sscanf(line.c_str(), "ShmemPmdMapped: %" SCNd64, &kilobytes) == 1) {
      sum += kilobytes << 10;
    }
  }
  return sum;
}

}  // namespace mariana
