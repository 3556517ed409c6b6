#include "common/train/tfevents.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/protobuf.h"

namespace mariana {
namespace {

// Little-endian, whatever the machine's order.
template <class T>
std::string Fixed(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// A CRC over data that itself contains CRCs is weak, so TFRecord rotates and adds a constant.
uint32_t MaskedCrc(const std::string& bytes) {
  const uint32_t crc = Crc32c(bytes.data(), bytes.size());
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

// Event: wall_time = 1, step = 2.
ProtoMessage EventHead(double wall_time, int64_t step) {
  return ProtoMessage().Double(1, wall_time).Int(2, step);
}

}  // namespace

std::string TfRecord(const std::string& payload) {
  const std::string length = Fixed(static_cast<uint64_t>(payload.size()));
  return length + Fixed(MaskedCrc(length)) + payload + Fixed(MaskedCrc(payload));
}

// Event.file_version = 3
std::string FileVersionEvent(double wall_time) {
  return EventHead(wall_time, 0).Bytes(3, "brain.Event:2").bytes();
}

// Event.session_log = 7 {status = 1: START = 1}
std::string SessionStartEvent(double wall_time, int64_t step) {
  return EventHead(wall_time, step).Message(7, ProtoMessage().Int(1, 1)).bytes();
}

// Event.summary = 5 {repeated value = 1 {tag = 1, simple_value = 2 (float)}}
std::string ScalarsEvent(double wall_time, int64_t step, const Scalars& scalars) {
  ProtoMessage summary;
  for (const auto& [tag, value] : scalars) {
    summary.Message(1, ProtoMessage().Bytes(1, tag).Float(2, static_cast<float>(value)));
  }
  return EventHead(wall_time, step).Message(5, summary).bytes();
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
