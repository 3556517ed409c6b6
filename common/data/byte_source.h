// ByteSource: a buffered stream of bytes from a file, a gzip file, a command's output or memory.
// Readers of file formats take one, so that each format is parsed by one piece of code whatever
// holds it (and so that fuzzers feed it from memory).
//
// Failures (cannot open, I/O error, broken gzip, command failed) throw Error(kBadData).
// Threading: an object belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mariana {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  // The next byte, left in place or taken; -1 at the end.
  int Peek() {
    return begin_ < end_ || Refill() ? static_cast<unsigned char>(buffer_[begin_]) : -1;
  }
  int Get() {
    const int c = Peek();
    if (c >= 0) ++begin_;
    return c;
  }
  // Copies up to n bytes; fewer only at the end.
  size_t Read(void* to, size_t n);
  // Everything left; throws when it is more than `limit` bytes.
  std::string ReadAll(size_t limit);

  // Where the next byte is: its offset in the (uncompressed) file.
  int64_t position() const { return filled_ - static_cast<int64_t>(end_ - begin_); }
  // Bytes of the file for each byte of what it holds, so far: 1 where nothing is compressed.
  double stored_ratio() const {
    return filled_ > 0 ? static_cast<double>(stored()) / static_cast<double>(filled_) : 1;
  }
  // Bytes left, or -1 where that is not known (gzip, commands).
  int64_t remaining() const { return size_ < 0 ? -1 : size_ - position(); }

 protected:
  ByteSource(size_t buffer_bytes, int64_t start, int64_t size)
      : buffer_(buffer_bytes, '\0'), filled_(start), size_(size) {}
  // Bytes of the file that went into all that Fill gave.
  virtual int64_t stored() const { return filled_; }
  // Up to n (> 0) bytes; 0 at the end.
  virtual size_t Fill(char* to, size_t n) = 0;

 private:
  bool Refill();

  std::string buffer_;
  size_t begin_ = 0, end_ = 0;  // what of buffer_ is unread
  int64_t filled_;              // file offset of buffer_[end_]
  int64_t size_;                // file offset of the end, -1 unknown
};

// A file from byte `offset` on. One that starts with gzip's magic is decompressed when offset < 0
// (from the start). buffer_bytes: small where little is read after a seek.
std::unique_ptr<ByteSource> OpenFile(const std::string& path, int64_t offset = -1,
                                     size_t buffer_bytes = 1 << 16);
// The output of a shell command; a non-zero exit status is an error when the end is reached.
std::unique_ptr<ByteSource> OpenCommand(const std::string& command);
// Bytes that outlive the source.
std::unique_ptr<ByteSource> OpenMemory(std::string_view bytes);

}  // namespace mariana
