#include "common/train/safetensors.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "common/base/error.h"
#include "common/train/safetensors_header.h"

namespace mariana {
namespace {

constexpr int64_t kLengthBytes = 8;

// The order of tensors in a file: wide types first, so that each is aligned to its own width.
std::vector<const HostTensor*> FileOrder(const std::vector<HostTensor>& tensors) {
  std::vector<const HostTensor*> order;
  for (const HostTensor& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(), [](const HostTensor* a, const HostTensor* b) {
    return SizeOf(a->dtype) > SizeOf(b->dtype);
  });
  return order;
}

std::string PrintHeader(const std::vector<const HostTensor*>& order, const Metadata& metadata) {
  SafetensorsHeader header{metadata, {}};
  int64_t offset = 0;
  for (const HostTensor* t : order) {
    const auto bytes = static_cast<int64_t>(t->bytes.size());
    CHECK_EQ(bytes, t->shape.elements() * SizeOf(t->dtype)) << t->name;
    header.tensors.push_back({t->name, t->dtype, t->shape, offset, bytes});
    offset += bytes;
  }
  return PrintSafetensorsHeader(header);
}

float FromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  const uint32_t bits = sign | wide << 23 | fraction << 13;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// F16 and F64 as f32.
template <class T, class F>
std::vector<char> ToF32(const std::vector<char>& from, F convert) {
  const size_t n = from.size() / sizeof(T);
  std::vector<char> to(n * sizeof(float));
  for (size_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, from.data() + i * sizeof(T), sizeof(T));
    const float f = convert(value);
    std::memcpy(to.data() + i * sizeof(float), &f, sizeof(f));
  }
  return to;
}

}  // namespace

HostTensor HostTensor::F32(std::string name, Shape shape, const float* values) {
  const char* begin = reinterpret_cast<const char*>(values);
  const int64_t bytes = shape.elements() * SizeOf(Dtype::kF32);
  return {std::move(name), Dtype::kF32, std::move(shape), std::vector<char>(begin, begin + bytes)};
}

float* HostTensor::f32() {
  CHECK(dtype == Dtype::kF32) << name;
  return reinterpret_cast<float*>(bytes.data());
}

const float* HostTensor::f32() const { return const_cast<HostTensor*>(this)->f32(); }

void WriteSafetensors(FileWriter* out, const std::vector<HostTensor>& tensors,
                      const Metadata& metadata) {
  const std::vector<const HostTensor*> order = FileOrder(tensors);
  const std::string header = PrintHeader(order, metadata);
  const uint64_t length = header.size();
  char prefix[kLengthBytes];
  for (int i = 0; i < kLengthBytes; ++i) prefix[i] = static_cast<char>(length >> (8 * i));
  out->Append(prefix, sizeof(prefix));
  out->Append(header.data(), header.size());
  for (const HostTensor* t : order) out->Append(t->bytes.data(), t->bytes.size());
}

int64_t SafetensorsBytes(const std::vector<HostTensor>& tensors, const Metadata& metadata) {
  int64_t bytes =
      kLengthBytes + static_cast<int64_t>(PrintHeader(FileOrder(tensors), metadata).size());
  for (const HostTensor& t : tensors) bytes += static_cast<int64_t>(t.bytes.size());
  return bytes;
}

// Where the bytes come from: an open file, or memory that the caller keeps.
class SafetensorsFile::Source {
 public:
  explicit Source(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat info;
    if (fd_ < 0 || fstat(fd_, &info) != 0) {
      throw Fail(ExitCode::kBadData, "cannot read ", path, ": ", std::strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
      close(fd_);
      throw Fail(ExitCode::kBadData, "cannot read ", path, ": not a file");
    }
    size_ = info.st_size;
  }
  Source(std::string_view contents, const std::string& name)
      : path_(name), memory_(contents), size_(static_cast<int64_t>(contents.size())) {}
  ~Source() {
    if (fd_ >= 0) close(fd_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  int64_t size() const { return size_; }

  // [offset, offset + bytes) must lie inside size().
  void Read(int64_t offset, int64_t bytes, char* to) const {
    if (fd_ < 0) {
      std::copy_n(memory_.data() + offset, bytes, to);
      return;
    }
    while (bytes > 0) {
      const ssize_t n = pread(fd_, to, static_cast<size_t>(bytes), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        throw Fail(ExitCode::kBadData, "cannot read ", path_, ": ",
                   n < 0 ? std::strerror(errno) : "it became shorter");
      }
      to += n;
      offset += n;
      bytes -= n;
    }
  }

 private:
  std::string path_;
  int fd_ = -1;
  std::string_view memory_;
  int64_t size_ = 0;
};

SafetensorsFile::SafetensorsFile(const std::string& path)
    : SafetensorsFile(path, std::make_shared<Source>(path)) {}

SafetensorsFile SafetensorsFile::FromMemory(std::string_view contents, const std::string& name) {
  return SafetensorsFile(name, std::make_shared<Source>(contents, name));
}

SafetensorsFile::SafetensorsFile(const std::string& path, std::shared_ptr<const Source> source)
    : path_(path), source_(std::move(source)) {
  const auto bad = [&](const auto&... what) {
    return Fail(ExitCode::kBadData, path_, ": ", what...);
  };
  const int64_t size = source_->size();
  if (size < kLengthBytes) throw bad("not a safetensors file: only ", size, " bytes");
  unsigned char prefix[kLengthBytes];
  source_->Read(0, kLengthBytes, reinterpret_cast<char*>(prefix));
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) length = length << 8 | prefix[i];
  if (length > kMaxSafetensorsHeader) {
    throw bad("not a safetensors file: a header of ", length, " bytes (at most 100 MB)");
  }
  const auto header_bytes = static_cast<int64_t>(length);
  if (header_bytes > size - kLengthBytes) {
    throw bad("truncated: its header takes ", header_bytes, " bytes, ", size - kLengthBytes,
              " are there");
  }
  std::string text(length, '\0');
  source_->Read(kLengthBytes, header_bytes, text.data());
  data_begin_ = kLengthBytes + header_bytes;
  SafetensorsHeader header = ParseSafetensorsHeader(text, size - data_begin_, path_);
  metadata_ = std::move(header.metadata);
  tensors_ = std::move(header.tensors);
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
}

const SafetensorsFile::Entry* SafetensorsFile::Find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

HostTensor SafetensorsFile::Read(const std::string& name) const {
  const Entry* entry = Find(name);
  if (entry == nullptr) {
    throw Fail(ExitCode::kBadData, path_, ": tensor \"", name, "\": is not there");
  }
  return Read(*entry);
}

HostTensor SafetensorsFile::Read(const Entry& entry) const {
  HostTensor tensor{entry.name, entry.dtype, entry.shape,
                    std::vector<char>(static_cast<size_t>(entry.bytes))};
  source_->Read(data_begin_ + entry.offset, entry.bytes, tensor.bytes.data());
  if (entry.stored == Stored::kF16) tensor.bytes = ToF32<uint16_t>(tensor.bytes, FromHalf);
  if (entry.stored == Stored::kF64) {
    tensor.bytes = ToF32<double>(tensor.bytes, [](double v) { return static_cast<float>(v); });
  }
  return tensor;
}

void SafetensorsFile::ReadBytes(const Entry& entry, int64_t offset, int64_t bytes, char* to) const {
  CHECK(offset >= 0 && bytes >= 0 && offset + bytes <= entry.bytes) << entry.name;
  source_->Read(data_begin_ + entry.offset + offset, bytes, to);
}

std::vector<HostTensor> SafetensorsFile::ReadAll() const {
  std::vector<HostTensor> all;
  all.reserve(tensors_.size());
  for (const Entry& entry : tensors_) all.push_back(Read(entry));
  return all;
}

}  // namespace mariana
