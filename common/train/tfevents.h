// TensorBoard's events file: TFRecord frames (length, masked CRC32C of the length, payload,
// masked CRC32C of the payload) around Event protocol buffers (tensorflow/core/util/event.proto),
// of which we write four fields by hand: wall_time, step, file_version, summary scalars and
// session_log. Thread-compatible.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace mariana {

using Scalars = std::vector<std::pair<std::string, double>>;

// One framed record.
std::string TfRecord(const std::string& payload);
// Serialized Event messages.
std::string FileVersionEvent(double wall_time);  // "brain.Event:2", the first of every file
std::string SessionStartEvent(double wall_time, int64_t step);  // earlier files end before `step`
std::string ScalarsEvent(double wall_time, int64_t step, const Scalars& scalars);

class EventsWriter {
 public:
  // Creates folder/events.out.tfevents.<seconds>.<host>.<pid>. Steps from `first_step` on in
  // earlier files of the folder are void.
  EventsWriter(const std::string& folder, double wall_time, int64_t first_step);
  ~EventsWriter();
  EventsWriter(const EventsWriter&) = delete;
  EventsWriter& operator=(const EventsWriter&) = delete;
  void Write(double wall_time, int64_t step, const Scalars& scalars);  // flushed

 private:
  void Append(const std::string& event);
  std::string path_;
  std::FILE* file_ = nullptr;
};

}  // namespace mariana
