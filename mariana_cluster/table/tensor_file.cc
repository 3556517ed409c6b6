#include "mariana_cluster/table/tensor_file.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/safetensors_header.h"

namespace mariana {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

Error WriteError(const std::string& path, ExitCode code, const char* what) {
  const bool full = errno == ENOSPC || errno == EDQUOT;
  return Fail(full ? ExitCode::kIo : code, "cannot ", what, " ", path, ": ",
              full ? "disk full" : std::strerror(errno));
}

// A linear map of 32 bits, column by column: what so many zero bits make of a remainder.
using BitMatrix = std::array<uint32_t, 32>;

uint32_t Times(const BitMatrix& m, uint32_t v) {
  uint32_t sum = 0;
  for (size_t i = 0; v != 0; ++i, v >>= 1) sum ^= (v & 1) != 0 ? m[i] : 0;
  return sum;
}

BitMatrix Square(const BitMatrix& m) {
  BitMatrix square;
  for (size_t i = 0; i < 32; ++i) square[i] = Times(m, m[i]);
  return square;
}

}  // namespace

uint32_t JoinCrc32c(uint32_t first, uint32_t second, int64_t second_bytes) {
  BitMatrix zeros;  // one zero bit
  zeros[0] = 0x82F63B78;
  for (size_t i = 1; i < 32; ++i) zeros[i] = uint32_t{1} << (i - 1);
  for (int i = 0; i < 3; ++i) zeros = Square(zeros);  // eight
  for (int64_t n = second_bytes; n != 0; n >>= 1, zeros = Square(zeros)) {
    if ((n & 1) != 0) first = Times(zeros, first);
  }
  return first ^ second;
}

TensorFile::TensorFile(const std::string& path, const std::vector<Tensor>& tensors,
                       const Metadata& metadata)
    : path_(path), streams_(tensors.size()), order_(tensors.size()) {
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
    return SizeOf(tensors[a].dtype) > SizeOf(tensors[b].dtype);
  });
  SafetensorsHeader header{metadata, {}};
  int64_t offset = 0;
  for (const size_t i : order_) {
    const Tensor& t = tensors[i];
    streams_[i].bytes = t.shape.elements() * SizeOf(t.dtype);
    header.tensors.push_back({t.name, t.dtype, t.shape, offset, streams_[i].bytes});
    offset += streams_[i].bytes;
    names_.push_back(t.name);
  }
  const std::string text = PrintSafetensorsHeader(header);
  const uint64_t length = text.size();
  head_.bytes = static_cast<int64_t>(sizeof(length) + length);
  offset = head_.bytes;
  for (const size_t i : order_) {
    streams_[i].begin = offset;
    offset += streams_[i].bytes;
  }
  bytes_ = offset;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) throw WriteError(path, ExitCode::kCannotCreate, "create");
  head_.buffer.assign(reinterpret_cast<const char*>(&length),
                      sizeof(length));  // x86: little-endian
  head_.buffer += text;
  Flush(&head_);
}

TensorFile::~TensorFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(path_.c_str());
}

void TensorFile::Append(size_t tensor, const void* data, size_t bytes) {
  Stream& stream = streams_[tensor];
  stream.buffer.append(static_cast<const char*>(data), bytes);
  if (stream.buffer.size() >= kBufferBytes) Flush(&stream);
}

void TensorFile::Flush(Stream* stream) {
  const std::string& buffer = stream->buffer;
  const auto bytes = static_cast<int64_t>(buffer.size());
  CHECK_LE(stream->written + bytes, stream->bytes) << path_ << " changed while it was saved";
  stream->crc = Crc32c(buffer.data(), buffer.size(), stream->crc);
  WriteAt(buffer.data(), buffer.size(), stream->begin + stream->written);
  stream->written += bytes;
  stream->buffer.clear();
}

void TensorFile::WriteAt(const char* data, size_t bytes, int64_t offset) {
  while (bytes > 0) {
    const ssize_t n = pwrite(fd_, data, bytes, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw WriteError(path_, ExitCode::kIo, "write");
    data += n;
    offset += n;
    bytes -= static_cast<size_t>(n);
  }
}

WrittenFile TensorFile::Finish() {
  uint32_t crc = head_.crc;
  for (const size_t i : order_) {
    Stream& stream = streams_[i];
    Flush(&stream);
    CHECK_EQ(stream.written, stream.bytes) << path_ << " changed while it was saved";
    crc = JoinCrc32c(crc, stream.crc, stream.bytes);
  }
  if (fsync(fd_) != 0) throw WriteError(path_, ExitCode::kIo, "write");
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) throw WriteError(path_, ExitCode::kIo, "write");
  return {path_.substr(path_.rfind('/') + 1), bytes_, crc, names_};
}

}  // namespace mariana
