#include "common/config/mistakes.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <tuple>

#include "common/base/error.h"

namespace mariana {

std::string OneLine(const std::string& text, size_t limit) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (line.size() >= limit && (byte & 0xC0) != 0x80) return line + "...";
    if (c == '\n') {
      line += "\\n";
    } else if (c == '\t') {
      line += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02X", byte);
      line += escape;
    } else {
      line += c;
    }
  }
  return line;
}

std::string Listed(const std::vector<std::string>& words) {
  constexpr size_t kMost = 12;
  std::string list;
  for (size_t i = 0; i < std::min(words.size(), kMost); ++i) list += (i ? ", " : "") + words[i];
  return words.size() > kMost ? list + ", ..." : list;
}

int Mistakes::AddInclude(const std::string& name) {
  files_.push_back(name);
  return 1 - static_cast<int>(files_.size());
}

void Mistakes::Add(const Place& place, const std::string& path, const std::string& what) {
  std::string text;
  if (place.source <= 0) {
    text = StrCat(FileOf(place), ":", place.line, ":", place.column, ": ");
  } else {
    text = StrCat("override \"", overrides_[static_cast<size_t>(place.source) - 1], "\": ");
  }
  if (!path.empty()) text += path + ": ";
  text += what;
  if (place.alias_line > 0) {
    text += StrCat(" (by the alias at ", place.alias_line, ":", place.alias_column, ")");
  }
  mistakes_.push_back({place, OneLine(text, 2000)});
}

void Mistakes::Throw() const {
  if (mistakes_.empty()) return;
  const auto order = [](const Mistake& m) {  // the config, what it includes, overrides
    const int source = m.place.source;
    return std::make_tuple(source > 0, std::abs(source), m.place.line, m.place.column);
  };
  auto sorted = mistakes_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const Mistake& a, const Mistake& b) { return order(a) < order(b); });
  std::string lines;
  for (const Mistake& m : sorted) lines += (lines.empty() ? "" : "\n") + m.text;
  throw Error(ExitCode::kUsage, lines);
}

std::string Mistakes::OriginOf(const Place& place) const {
  return place.source <= 0 ? StrCat(FileOf(place), ":", place.line) : "override";
}

}  // namespace mariana
