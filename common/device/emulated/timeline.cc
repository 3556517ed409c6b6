#include "common/device/emulated/timeline.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "common/base/error.h"

namespace mariana {
namespace {
constexpr int kMostRows = 1000;  // of a track
}  // namespace

int Timeline::AddTrack(const std::string& group, const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  tracks_.push_back({group, name});
  return static_cast<int>(tracks_.size()) - 1;
}

void Timeline::Add(int track, const std::string& what, int64_t begin_ns, int64_t end_ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  tracks_[static_cast<size_t>(track)].busy_ns += end_ns - begin_ns;
  if (recording_) events_.push_back({track, what, begin_ns, end_ns});
}

void Timeline::Record(bool on) {
  std::lock_guard<std::mutex> lock(mutex_);
  recording_ = on;
}

int64_t Timeline::BusyNs(int track) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return tracks_[static_cast<size_t>(track)].busy_ns;
}

namespace {

std::string Quoted(const std::string& s) { return nlohmann::json(s).dump(); }

std::string NameEvent(const char* what, int pid, int tid, const std::string& value) {
  return StrCat("{\"name\": \"", what, "\", \"ph\": \"M\", \"pid\": ", pid, ", \"tid\": ", tid,
                ", \"args\": {\"name\": ", Quoted(value), "}}");
}

// Microseconds with three decimals: nanoseconds, exactly.
std::string Microseconds(int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%" PRId64 ".%03d", ns / 1000, static_cast<int>(ns % 1000));
  return text;
}

}  // namespace

// Groups are the format's processes, tracks its threads. Events of one thread must not overlap: a
// link that is shared takes as many rows as copies share it.
std::string Timeline::ChromeTrace() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::map<std::string, int> pids;
  for (const Track& track : tracks_) pids.emplace(track.group, pids.size() + 1);
  std::vector<const Event*> ordered;
  for (const Event& e : events_) ordered.push_back(&e);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const Event* a, const Event* b) { return a->begin_ns < b->begin_ns; });

  std::vector<std::string> lines;
  for (const auto& [group, pid] : pids) lines.push_back(NameEvent("process_name", pid, 0, group));
  std::vector<std::vector<int64_t>> ends(tracks_.size());  // [track][row]: of the last event
  for (const Event* e : ordered) {
    auto& rows = ends[static_cast<size_t>(e->track)];
    const auto free =
        std::find_if(rows.begin(), rows.end(), [&](int64_t end) { return end <= e->begin_ns; });
    const auto row = static_cast<int>(free - rows.begin());
    const Track& track = tracks_[static_cast<size_t>(e->track)];
    const int pid = pids.at(track.group), tid = e->track * kMostRows + row + 1;
    if (free == rows.end()) {
      rows.push_back(0);
      lines.push_back(NameEvent("thread_name", pid, tid,
                                row == 0 ? track.name : StrCat(track.name, " (", row + 1, ")")));
    }
    rows[static_cast<size_t>(row)] = e->end_ns;
    lines.push_back(StrCat("{\"name\": ", Quoted(e->what), ", \"ph\": \"X\", \"pid\": ", pid,
                           ", \"tid\": ", tid, ", \"ts\": ", Microseconds(e->begin_ns),
                           ", \"dur\": ", Microseconds(e->end_ns - e->begin_ns), "}"));
  }
  std::string text = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  for (size_t i = 0; i < lines.size(); ++i) {
    text += lines[i] + (i + 1 < lines.size() ? ",\n" : "\n");
  }
  return text + "]}\n";
}

}  // namespace mariana
