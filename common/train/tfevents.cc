#include "common/train/tfevents.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

// Little-endian, whatever the machine's order.
template <class T>
std::string Fixed(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

template <class Bits, class T>
Bits BitsOf(T value) {
  static_assert(sizeof(Bits) == sizeof(T));
  Bits bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// A CRC over data that itself contains CRCs is weak, so TFRecord rotates and adds a constant.
uint32_t MaskedCrc(const std::string& bytes) {
  const uint32_t crc = Crc32c(bytes.data(), bytes.size());
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

// Protocol buffers: a field is a varint of (number << 3 | wire type) and its value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string Field(int number, WireType type, const std::string& value) {
  return Varint(static_cast<uint64_t>(number) << 3 | type) + value;
}

std::string BytesField(int number, const std::string& value) {
  return Field(number, kBytes, Varint(value.size()) + value);
}

// Event: wall_time = 1, step = 2.
std::string EventHead(double wall_time, int64_t step) {
  return Field(1, kFixed64, Fixed(BitsOf<uint64_t>(wall_time))) +
         Field(2, kVarint, Varint(static_cast<uint64_t>(step)));
}

}  // namespace

std::string TfRecord(const std::string& payload) {
  const std::string length = Fixed(static_cast<uint64_t>(payload.size()));
  return length + Fixed(MaskedCrc(length)) + payload + Fixed(MaskedCrc(payload));
}

// Event.file_version = 3
std::string FileVersionEvent(double wall_time) {
  return EventHead(wall_time, 0) + BytesField(3, "brain.Event:2");
}

// Event.session_log = 7 {status = 1: START = 1}
std::string SessionStartEvent(double wall_time, int64_t step) {
  return EventHead(wall_time, step) + BytesField(7, Field(1, kVarint, Varint(1)));
}

// Event.summary = 5 {repeated value = 1 {tag = 1, simple_value = 2 (float)}}
std::string ScalarsEvent(double wall_time, int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    const auto bits = BitsOf<uint32_t>(static_cast<float>(value));
    summary += BytesField(1, BytesField(1, tag) + Field(2, kFixed32, Fixed(bits)));
  }
  return EventHead(wall_time, step) + BytesField(5, summary);
}

EventsWriter::EventsWriter(const std::string& folder, double wall_time, int64_t first_step) {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  for (int n = 0; file_ == nullptr; ++n) {  // x: two starts within a second take two files
    path_ = StrCat(folder, "/events.out.tfevents.", static_cast<int64_t>(wall_time), ".", host, ".",
                   getpid(), ".", n);
    file_ = std::fopen(path_.c_str(), "wbxe");
    if (file_ == nullptr && errno != EEXIST) {
      throw Fail(ExitCode::kCannotCreate, "cannot create ", path_, ": ", std::strerror(errno));
    }
  }
  Append(FileVersionEvent(wall_time));
  Append(SessionStartEvent(wall_time, first_step));
}

EventsWriter::~EventsWriter() {
  if (file_ != nullptr) std::fclose(file_);
}

void EventsWriter::Write(double wall_time, int64_t step, const Scalars& scalars) {
  Append(ScalarsEvent(wall_time, step, scalars));
}

void EventsWriter::Append(const std::string& event) {
  const std::string record = TfRecord(event);
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size() ||
      std::fflush(file_) != 0) {
    throw Fail(ExitCode::kIo, "cannot write ", path_, ": ", std::strerror(errno));
  }
}

}  // namespace mariana
