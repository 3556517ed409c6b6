#include "common/train/identity.h"

#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "common/base/error.h"

namespace mariana {
namespace {

// One value of a printed config.
struct PrintedValue {
  std::string path, text;  // "net.layers.0.units", "32"
};

// The values of what PrintConfig prints: two spaces a level, "- " before the first key of an item.
std::vector<PrintedValue> PrintedValues(const std::string& yaml) {
  std::vector<PrintedValue> out;
  std::vector<std::pair<size_t, std::string>> open;  // indentation and name of what we are in
  std::istringstream lines(yaml);
  for (std::string line; std::getline(lines, line);) {
    size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos) continue;
    const bool starts_item = line.compare(indent, 2, "- ") == 0;
    while (!open.empty() && open.back().first > indent) open.pop_back();
    if (starts_item) {
      int item = 0;
      if (!open.empty() && open.back().first == indent) {
        item = std::stoi(open.back().second) + 1;
        open.pop_back();
      }
      open.emplace_back(indent, std::to_string(item));
      indent += 2;
    } else {
      while (!open.empty() && open.back().first >= indent) open.pop_back();
    }
    const size_t colon = line.find(':', indent);
    open.emplace_back(indent, line.substr(indent, colon - indent));
    if (colon == std::string::npos || colon + 1 >= line.size()) continue;
    PrintedValue value{"", line.substr(colon + 2)};
    for (const auto& [_, name] : open) value.path += (value.path.empty() ? "" : ".") + name;
    out.push_back(value);
  }
  return out;
}

}  // namespace

std::string FirstChange(const std::string& before, const std::string& now) {
  std::map<std::string, std::string> was;
  for (const PrintedValue& v : PrintedValues(before)) was[v.path] = v.text;
  for (const PrintedValue& v : PrintedValues(now)) {
    const auto it = was.find(v.path);
    if (it == was.end()) return v.path + " is new";
    if (it->second != v.text) return v.path + " was " + it->second + " and is now " + v.text;
    was.erase(it);
  }
  return was.empty() ? "its form" : was.begin()->first + " is gone";
}

void CheckIdentity(const std::string& before, const std::string& now,
                   const std::string& checkpoint) {
  if (before == now) return;
  throw Fail(ExitCode::kUsage, checkpoint,
             ": the config is not the one of this run: ", FirstChange(before, now),
             "; net, data, seed, batch, optimizer and schedule stay as they are under "
             "--resume: use another --run_dir (and train.start_from to begin with this model)");
}

}  // namespace mariana
