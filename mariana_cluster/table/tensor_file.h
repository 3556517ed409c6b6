// TensorFile: a safetensors file whose tensors grow side by side, so that rows that are read once
// can go to several tensors; checksummed on the way although nothing is read back: the CRC32C of
// each tensor's bytes is joined with that of the next (zlib's crc32_combine, for Castagnoli's
// polynomial). Finish() flushes and fsyncs; without it the destructor removes the file. Failures
// throw Error(kIo), or kCannotCreate. Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/train/safetensors.h"

namespace mariana {

// A file as a checkpoint's manifest names it.
struct WrittenFile {
  std::string name;
  int64_t bytes = 0;
  uint32_t crc32c = 0;
  std::vector<std::string> tensors;
};

class TensorFile {
 public:
  struct Tensor {
    std::string name;
    Dtype dtype;
    Shape shape;
  };
  // Tensors lie in the file with wide types first, so that each is aligned to its own width.
  TensorFile(const std::string& path, const std::vector<Tensor>& tensors, const Metadata& metadata);
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  int64_t bytes() const { return bytes_; }
  // The next bytes of tensors[tensor].
  void Append(size_t tensor, const void* data, size_t bytes);
  // CHECKs that every tensor is complete. Its name is the path's last part.
  WrittenFile Finish();

 private:
  struct Stream {
    int64_t begin = 0, bytes = 0;  // in the file
    int64_t written = 0;
    uint32_t crc = 0;
    std::string buffer;
  };
  void Flush(Stream* stream);
  void WriteAt(const char* data, size_t bytes, int64_t offset);

  std::string path_;
  int fd_ = -1;
  int64_t bytes_ = 0;
  Stream head_;
  std::vector<Stream> streams_;  // as the tensors were given
  std::vector<size_t> order_;    // in the file
  std::vector<std::string> names_;
};

// The CRC32C of two pieces together, from that of each and the bytes of the second.
uint32_t JoinCrc32c(uint32_t first, uint32_t second, int64_t second_bytes);

}  // namespace mariana
