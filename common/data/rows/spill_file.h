// SpillFile: blocks of bytes on disk for as long as the process lives. The file has no name (it is
// unlinked at once), so it is gone when the process ends, however it ends. Each block has a
// checksum.
// Threading: Append belongs to one thread; Read and WillRead are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace mariana {

class SpillFile {
 public:
  struct Place {
    int64_t offset = 0;
    size_t bytes = 0;
    uint32_t crc = 0;
  };
  // `what` the blocks hold, for errors. Throws Error(kCannotCreate).
  explicit SpillFile(const std::string& folder, std::string what = "cached samples");
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  // Error(kIo) when the disk is full, saying how much was written and what helps.
  Place Append(const void* data, size_t bytes);
  // Error(kIo) when it cannot be read or is not what was written.
  void Read(const Place& place, void* to) const;
  // The block is read soon: the kernel may fetch it.
  void WillRead(const Place& place) const;
  int64_t bytes() const { return bytes_; }

 private:
  const std::string folder_, what_;
  int fd_;
  int64_t bytes_ = 0;
};

}  // namespace mariana
