// ChromeTrace: spans of a job's processes as a file for chrome://tracing and ui.perfetto.dev (the
// Trace Event Format's "X" events, JSON).
//
// Threading: one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace mariana {

class ChromeTrace {
 public:
  // An answer of JobTrace::TakeSpans.
  void Add(const nlohmann::json& spans);
  int64_t spans() const { return static_cast<int64_t>(spans_.size()); }
  int64_t lost() const { return lost_; }  // rings were full
  int64_t processes() const { return static_cast<int64_t>(processes_.size()); }
  // Throws Error as files.h does.
  void Write(const std::string& path) const;

 private:
  struct Event {
    int process, thread;
    std::string stage;
    double begin_us, us;
  };
  int ProcessOf(const std::string& node, const std::string& name);

  std::vector<Event> spans_;
  std::vector<std::pair<std::string, std::string>> processes_;  // (node, name)
  int64_t lost_ = 0;
};

}  // namespace mariana
