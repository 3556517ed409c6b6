// Files: whole-file reads, durable atomic writes, CRC32C. Every failure throws
// Error naming the path: kBadData when an input is missing or unreadable, kIo when a write
// fails (disk full says so), kCannotCreate when an output cannot be created.
// Thread-safe: no shared state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mariana {

std::string ReadFile(const std::string& path);

// Writes path.tmp.<pid>.<n> beside `path`, fsyncs it, renames it over `path`, fsyncs the folder.
void WriteFileAtomic(const std::string& path, std::string_view contents);

// mkdir -p. kCannotCreate on failure.
void MakeDirectories(const std::string& path);
void FsyncDirectory(const std::string& path);
// Removes a folder and what is in it; missing is fine.
void RemoveTree(const std::string& path);
// Bytes an unprivileged writer can still put on the file system that holds `path`.
int64_t FreeBytes(const std::string& path);

// A file written in pieces, checksummed on the way. Finish() flushes and fsyncs; without it the
// destructor removes the file.
class FileWriter {
 public:
  explicit FileWriter(const std::string& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void Append(const void* data, size_t bytes);
  void Finish();
  uint32_t crc32c() const { return crc_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  int fd_ = -1;
  uint32_t crc_ = 0;
  int64_t bytes_ = 0;
  std::string buffer_;
  void FlushBuffer();
};

// Castagnoli polynomial; pass the previous result to continue. Crc32c("123456789") = 0xE3069283.
uint32_t Crc32c(const void* data, size_t bytes, uint32_t crc = 0);
uint32_t Crc32cOfFile(const std::string& path);

}  // namespace mariana
