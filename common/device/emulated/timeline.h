// Timeline: what every stream and link of an emulated machine did, and when: busy time always, the
// single events while recording.
//
// Threading: thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace mariana {

class Timeline {
 public:
  // A row of the picture: a stream of a device, one direction of a link. `group` is the heading
  // that it stands under. Returns its number.
  int AddTrack(const std::string& group, const std::string& name);
  void Add(int track, const std::string& what, int64_t begin_ns, int64_t end_ns);
  void Record(bool on);
  int64_t BusyNs(int track) const;

  // Chrome's trace format (JSON): open it in chrome://tracing or ui.perfetto.dev.
  // https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
  std::string ChromeTrace() const;

 private:
  struct Track {
    std::string group, name;
    int64_t busy_ns = 0;
  };
  struct Event {
    int track;
    std::string what;
    int64_t begin_ns, end_ns;
  };
  mutable std::mutex mutex_;
  std::vector<Track> tracks_;
  std::vector<Event> events_;
  bool recording_ = false;
};

}  // namespace mariana
