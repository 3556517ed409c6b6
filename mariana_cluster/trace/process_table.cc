#include "mariana_cluster/trace/process_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

using nlohmann::json;

constexpr int kMinBar = 8, kMaxBar = 40;
constexpr size_t kEventsShown = 4;

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[128];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

// 950, 12.3k, 4.56M: three digits; `base` 1024: of bytes.
std::string Short(double v, double base = 1000) {
  const char* suffix = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (v < 999.5) break;
    v /= base;
    suffix = next;
  }
  return Format(v < 9.995 && *suffix   ? "%.2f%s"
                : v < 99.95 && *suffix ? "%.1f%s"
                                       : "%.0f%s",
                v, suffix);
}

// ---- stages as letters and colours

struct StageLook {
  const char* name;
  char letter;
  int colour;  // of 256, the background
};
constexpr StageLook kLooks[] = {{"data", 'd', 67},   {"wait", 'w', 179},    {"learn", 'l', 71},
                                {"gather", 'g', 73}, {"forward", 'f', 107}, {"backward", 'b', 143},
                                {"apply", 'a', 137}, {"dense", 'n', 139},   {"pull", 'p', 74},
                                {"push", 'u', 173},  {"snapshot", 's', 168}};
constexpr StageLook kOther = {"other", '+', 245};

const StageLook& LookOf(const std::string& stage) {
  for (const StageLook& look : kLooks) {
    if (stage == look.name) return look;
  }
  return kOther;
}

std::string Coloured(const std::string& text, const std::string& code) {
  return "\033[" + code + "m" + text + "\033[0m";
}

std::string Background(const std::string& text, int colour) {
  return Coloured(text, StrCat("38;5;16;48;5;", colour));
}

// Stages in the order in which kLooks has them.
std::vector<std::pair<StageLook, double>> Shares(const json& process) {
  std::vector<std::pair<StageLook, double>> shares;
  for (const StageLook& look : kLooks) shares.emplace_back(look, 0);
  shares.emplace_back(kOther, 0);
  for (const auto& [stage, share] : process["shares"].items()) {
    const char letter = LookOf(stage).letter;
    for (auto& [look, sum] : shares) sum += look.letter == letter ? share.get<double>() : 0;
  }
  return shares;
}

// Cells are dealt out so that their sum is the sum of shares, rounded.
std::string Bar(const json& process, int width, bool colour) {
  std::string bar;
  double sum = 0;
  int cells = 0;
  for (const auto& [look, share] : Shares(process)) {
    sum += share;
    const int end = std::min(width, static_cast<int>(std::lround(sum * width)));
    if (end <= cells) continue;
    const std::string part(static_cast<size_t>(end - cells), look.letter);
    bar += colour ? Background(part, look.colour) : part;
    cells = end;
  }
  return bar + std::string(static_cast<size_t>(width - cells), '.');
}

// As much as there is room for.
std::string Legend(const json& status, const TableStyle& style) {
  std::map<char, StageLook> seen;
  for (const json& node : status["nodes"]) {
    for (const json& p : node["processes"]) {
      for (const auto& [look, share] : Shares(p)) {
        if (share > 0) seen.emplace(look.letter, look);
      }
    }
  }
  std::string legend;
  int used = 0;
  for (const auto& [letter, look] : seen) {
    const std::string key(1, letter), text = StrCat(" ", look.name, "  ");
    used += 1 + static_cast<int>(text.size());
    if (used > style.columns) break;
    legend += (style.colour ? Background(key, look.colour) : key) + text;
  }
  return legend;
}

// ---- columns

struct Cell {
  std::string text;
  std::string code;  // its colour, "": none
};

struct Column {
  std::string title;
  bool left;
  int keep;  // the least goes first where there is no room
  std::vector<Cell> cells;
  size_t Width() const {
    size_t width = title.size();
    for (const Cell& c : cells) width = std::max(width, c.text.size());
    return width;
  }
};

std::string StateColour(const std::string& state) {
  if (state == "dead" || state == "stopped") return "1;31";
  if (state == "training" || state == "serving") return "32";
  if (state == "waiting" || state == "starting") return "33";
  return "36";
}

std::string Staleness(const json& p) {
  if (!p.contains("staleness_median")) return "-";
  return StrCat(p["staleness_median"].get<int64_t>(), "/", p["staleness_p99"].get<int64_t>());
}

std::string PerSecond(const json& p, const char* key) {
  const double rate = p.value(key, 0.0);
  return rate > 0 ? Short(rate) : "-";
}

std::string QueueOf(const json& p) {
  const auto most = p.value("queue_capacity", int64_t{0});
  return most > 0 ? StrCat(p.value("queued", int64_t{0}), "/", most) : "-";
}

std::vector<Column> MakeColumns(const json& status) {
  std::vector<Column> c = {{"process", true, 99, {}},    {"node", true, 5, {}},
                           {"pid", false, 6, {}},        {"state", true, 70, {}},
                           {"samples/s", false, 80, {}}, {"queue", false, 3, {}},
                           {"stale", false, 4, {}},      {"keys/s", false, 2, {}},
                           {"MB/s", false, 1, {}},       {"memory", false, 7, {}}};
  for (const json& node : status["nodes"]) {
    for (const json& p : node["processes"]) {
      const std::string state = p["state"];
      const auto restarts = p.value("restarts", int64_t{0});
      const std::string cells[] = {
          p["name"].get<std::string>() + (restarts > 0 ? StrCat(" (", restarts + 1, ".)") : ""),
          StrCat(node["number"].get<int>(), " ", node["node"].get<std::string>()),
          StrCat(p["pid"].get<int64_t>()),
          state,
          PerSecond(p, "samples_per_second"),
          QueueOf(p),
          Staleness(p),
          PerSecond(p, "keys_per_second"),
          p.value("bytes_per_second", 0.0) > 0
              ? Format("%.1f", p["bytes_per_second"].get<double>() * 1e-6)
              : "-",
          Short(static_cast<double>(p["memory_bytes"].get<int64_t>()), 1024)};
      for (size_t i = 0; i < c.size(); ++i) {
        c[i].cells.push_back({cells[i], c[i].title == "state" ? StateColour(state) : ""});
      }
    }
  }
  if (status["nodes"].size() <= 1) c.erase(c.begin() + 1);
  return c;
}

size_t WidthOf(const std::vector<Column>& columns) {
  size_t width = 0;
  for (const Column& c : columns) width += c.Width() + 2;
  return width;
}

std::string Padded(const Cell& cell, const Column& column, bool colour) {
  const std::string space(column.Width() - cell.text.size(), ' ');
  const std::string text =
      colour && !cell.code.empty() ? Coloured(cell.text, cell.code) : cell.text;
  return column.left ? text + space : space + text;
}

std::string TitleLine(const std::vector<Column>& columns, size_t bar) {
  std::string line;
  for (const Column& c : columns) {
    line += Padded({c.title, ""}, c, false) + "  ";
    if (c.title == "samples/s") line += "time" + std::string(bar - 4, ' ') + "  ";
  }
  return line.substr(0, line.size() - 2);
}

// The run directory is left out where it does not fit.
std::string Headline(const json& s, size_t width) {
  const auto done = s["samples"].get<double>(), of = s["epoch_samples"].get<double>();
  double rate = 0;
  for (const json& node : s["nodes"]) {
    for (const json& p : node["processes"]) rate += p.value("samples_per_second", 0.0);
  }
  const auto seconds = static_cast<int64_t>(s["seconds"].get<double>());
  const auto epochs = s["epochs"].get<int64_t>();
  const std::string line =
      StrCat(s["job"].get<std::string>(), "  ", s["phase"].get<std::string>(), "  epoch ",
             std::min(s["epoch"].get<int64_t>() + 1, epochs), "/", epochs,
             of > 0 ? Format(" %3.0f%%", std::min(100.0, 100 * done / of)) : "", "  step ",
             s["step"].get<int64_t>(), "  ", Short(rate), " samples/s  ",
             Format("%d:%02d:%02d", static_cast<int>(seconds / 3600),
                    static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60)));
  const std::string with_folder = line + "  " + s["run_dir"].get<std::string>();
  return with_folder.size() <= width ? with_folder : line.substr(0, width);
}

std::string EventLine(const json& event) {
  const auto time = static_cast<time_t>(event["time"].get<double>());
  tm local = {};
  localtime_r(&time, &local);
  return Format("%02d:%02d:%02d  ", local.tm_hour, local.tm_min, local.tm_sec) +
         event["what"].get<std::string>();
}

// ---- rates

double Rate(const json& before, const json& now, const char* key, double seconds) {
  if (!before.is_object() || !before.contains(key) || !now.contains(key) || seconds <= 0) return 0;
  return std::max(0.0, (now[key].get<double>() - before[key].get<double>()) / seconds);
}

// The largest staleness of the least share `q` of the steps.
int64_t Quantile(const std::vector<int64_t>& buckets, int64_t steps, double q) {
  int64_t sum = 0;
  for (size_t b = 0; b < buckets.size(); ++b) {
    sum += buckets[b];
    if (static_cast<double>(sum) >= q * static_cast<double>(steps)) return (int64_t{1} << b) - 1;
  }
  return 0;
}

void AddStaleness(const json& before, json* p) {
  if (!p->contains("staleness")) return;
  auto buckets = (*p)["staleness"].get<std::vector<int64_t>>();
  if (before.is_object() && before.contains("staleness")) {
    for (size_t b = 0; b < buckets.size(); ++b) buckets[b] -= before["staleness"][b].get<int64_t>();
  }
  int64_t steps = 0;
  for (const int64_t n : buckets) steps += n;
  if (steps <= 0) return;
  (*p)["staleness_median"] = Quantile(buckets, steps, 0.5);
  (*p)["staleness_p99"] = Quantile(buckets, steps, 0.99);
}

void AddRatesOf(const json& before, double seconds, json* p) {
  (*p)["samples_per_second"] = Rate(before, *p, "samples", seconds);
  (*p)["keys_per_second"] =
      Rate(before, *p, "keys_read", seconds) + Rate(before, *p, "keys_updated", seconds);
  (*p)["bytes_per_second"] =
      Rate(before, *p, "bytes_in", seconds) + Rate(before, *p, "bytes_out", seconds);
  json& shares = (*p)["shares"] = json::object();
  AddStaleness(before, p);
  if (!before.is_object() || !before.contains("seconds") || !p->contains("seconds")) return;
  for (const auto& [stage, spent] : (*p)["seconds"].items()) {
    const double share =
        (spent.get<double>() - before["seconds"].value(stage, 0.0)) / std::max(seconds, 1e-9);
    if (stage != "idle" && share > 0) shares[stage] = std::min(1.0, share);
  }
}

}  // namespace

void AddRates(const json& before, json* now) {
  std::map<std::pair<int, std::string>, const json*> known;  // (node, process)
  std::map<int, int64_t> when_ns;
  if (before.is_object()) {
    for (const json& node : before["nodes"]) {
      when_ns[node["number"]] = node["now_ns"];
      for (const json& p : node["processes"]) known[{node["number"], p["name"]}] = &p;
    }
  }
  const json none;
  for (json& node : (*now)["nodes"]) {
    const auto then = when_ns.find(node["number"]);
    const double seconds =
        then == when_ns.end()
            ? 0
            : static_cast<double>(node["now_ns"].get<int64_t>() - then->second) * 1e-9;
    for (json& p : node["processes"]) {
      const auto old = known.find({node["number"], p["name"]});
      AddRatesOf(old == known.end() || seconds <= 0 ? none : *old->second, seconds, &p);
    }
  }
}

std::vector<std::string> RenderStatus(const json& status, const TableStyle& style) {
  const auto width = static_cast<size_t>(std::max(40, style.columns));
  std::vector<Column> columns = MakeColumns(status);
  while (WidthOf(columns) + kMinBar > width && columns.size() > 2) {
    columns.erase(std::min_element(columns.begin(), columns.end(),
                                   [](const auto& a, const auto& b) { return a.keep < b.keep; }));
  }
  const size_t room = width - std::min(width, WidthOf(columns));
  const size_t bar = std::clamp<size_t>(room, kMinBar, kMaxBar);
  const auto plain = [&](const std::string& line) { return line.substr(0, width); };
  std::vector<std::string> tail;
  if (const std::string legend = Legend(status, style); !legend.empty()) tail.push_back(legend);
  // Processes come before what happened, where there is no room for both.
  const size_t processes = columns[0].cells.size();
  const auto most = static_cast<size_t>(std::max(4, style.lines));
  const json& events = status["events"];
  const size_t taken = 2 + processes + tail.size();
  const size_t shown = std::min({events.size(), kEventsShown, taken < most ? most - taken : 0});
  for (size_t i = events.size() - shown; i < events.size(); ++i) {
    tail.push_back(plain(EventLine(events[i])));
  }
  std::vector<std::string> lines = {Headline(status, width), plain(TitleLine(columns, bar))};
  if (style.colour) lines[1] = Coloured(lines[1], "1");
  size_t row = 0;
  for (const json& node : status["nodes"]) {
    for (const json& p : node["processes"]) {
      if (lines.size() + tail.size() + (row + 1 < processes ? 1 : 0) >= most) continue;
      std::string line;
      for (const Column& c : columns) {
        line += Padded(c.cells[row], c, style.colour) + "  ";
        if (c.title == "samples/s") {
          line += Bar(p, static_cast<int>(bar), style.colour) + "  ";
        }
      }
      lines.push_back(line.substr(0, line.size() - 2));
      ++row;
    }
  }
  if (row < processes) lines.push_back(StrCat("and ", processes - row, " more"));
  lines.insert(lines.end(), tail.begin(), tail.end());
  return lines;
}

}  // namespace mariana
