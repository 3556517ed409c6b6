#include "mariana_cluster/trace/chrome_trace.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {

using nlohmann::json;

int ChromeTrace::ProcessOf(const std::string& node, const std::string& name) {
  const std::pair<std::string, std::string> key(node, name);
  const auto known = std::find(processes_.begin(), processes_.end(), key);
  if (known == processes_.end()) processes_.push_back(key);
  return static_cast<int>(std::find(processes_.begin(), processes_.end(), key) -
                          processes_.begin());
}

void ChromeTrace::Add(const json& reports) {
  for (const json& report : reports) {
    lost_ += report["lost"].get<int64_t>();
    const std::string node =
        StrCat("node ", report["number"].get<int>(), " (", report["node"].get<std::string>(), ")");
    for (const json& s : report["spans"]) {
      spans_.push_back(
          {ProcessOf(node, s[0]), s[2].get<int>(), s[1], s[3].get<double>(), s[4].get<double>()});
    }
  }
}

void ChromeTrace::Write(const std::string& path) const {
  double begin = spans_.empty() ? 0 : spans_[0].begin_us;
  for (const Event& e : spans_) begin = std::min(begin, e.begin_us);
  FileWriter out(path);
  const auto write = [&out](const std::string& text) { out.Append(text.data(), text.size()); };
  write("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n");
  for (size_t p = 0; p < processes_.size(); ++p) {
    const std::string name = processes_[p].second + " on " + processes_[p].first;
    write(
        json{{"ph", "M"}, {"name", "process_name"}, {"pid", p}, {"args", {{"name", name}}}}.dump() +
        ",\n");
    write(
        json{{"ph", "M"}, {"name", "process_sort_index"}, {"pid", p}, {"args", {{"sort_index", p}}}}
            .dump() +
        (spans_.empty() && p + 1 == processes_.size() ? "\n" : ",\n"));
  }
  for (size_t i = 0; i < spans_.size(); ++i) {
    const Event& e = spans_[i];
    char text[256];
    std::snprintf(
        text, sizeof(text),
        "{\"ph\":\"X\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f}%s\n",
        e.stage.c_str(), e.process, e.thread, e.begin_us - begin, e.us,
        i + 1 < spans_.size() ? "," : "");
    write(text);
  }
  write("]}\n");
  out.Finish();
}

}  // namespace mariana
