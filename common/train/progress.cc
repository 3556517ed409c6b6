#include "common/train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"

namespace mariana {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kBarInterval = kSecond / 10;
constexpr int kMinBar = 10, kMaxBar = 40;

struct ModeName {
  const char* name;
  ProgressMode mode;
};
constexpr ModeName kModes[] = {{"auto", ProgressMode::kAuto},
                               {"bar", ProgressMode::kBar},
                               {"plain", ProgressMode::kPlain},
                               {"json", ProgressMode::kJson},
                               {"none", ProgressMode::kNone}};

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[128];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

// 950, 12.3k, 4.56M: three digits.
std::string Compact(double v) {
  const char* suffix = "";
  for (const char* next : {"k", "M", "G"}) {
    if (v < 999.5) break;
    v /= 1000;
    suffix = next;
  }
  return Format(v < 9.995 && *suffix ? "%.2f%s" : v < 99.95 ? "%.1f%s" : "%.0f%s", v, suffix);
}

// 0:07, 12:34, 1:02:03
std::string Duration(double seconds) {
  const auto s = std::llround(std::min(std::max(seconds, 0.0), 3.6e9));
  if (s < 3600) return Format("%lld:%02lld", s / 60, s % 60);
  return Format("%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

// Plain lines: every 10 s in the first minute, 30 s in the first ten, then every minute.
int64_t PlainInterval(int64_t elapsed_ns) {
  return kSecond * (elapsed_ns < 60 * kSecond ? 10 : elapsed_ns < 600 * kSecond ? 30 : 60);
}

int TerminalColumns(std::FILE* out) {
  winsize size = {};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool IsTerminal(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(out)) && term != nullptr && std::strcmp(term, "dumb") != 0;
}

}  // namespace

ProgressMode ParseProgressMode(const std::string& word) {
  std::vector<std::string> names;
  for (const ModeName& m : kModes) {
    if (word == m.name) return m.mode;
    names.push_back(m.name);
  }
  const std::string near = DidYouMean(word, names);
  throw Fail(ExitCode::kUsage, "--progress=", word, ": must be auto, bar, plain, json or none",
             near.empty() ? "" : "; did you mean " + near + "?");
}

Progress::Progress(ProgressMode mode, Clock* clock, std::FILE* out, int columns)
    : mode_(mode), clock_(clock), out_(out), columns_(columns) {
  if (mode_ == ProgressMode::kAuto) {
    mode_ = IsTerminal(out_) ? ProgressMode::kBar : ProgressMode::kPlain;
  }
}

Progress::~Progress() { ClearBar(); }

void Progress::Begin(const std::string& phase, int64_t total, const std::string& unit,
                     int64_t done) {
  phase_ = phase;
  unit_ = unit;
  total_ = total;
  done_ = done_before_ = done;
  values_.clear();
  begin_ns_ = clock_->NowNs();
  next_draw_ns_ = begin_ns_ + (mode_ == ProgressMode::kPlain  ? PlainInterval(0)
                               : mode_ == ProgressMode::kJson ? kSecond
                                                              : 0);
}

void Progress::Update(int64_t done, const std::vector<std::pair<std::string, double>>& values) {
  done_ = done;
  const int64_t now = clock_->NowNs();
  if (mode_ == ProgressMode::kNone) return;
  values_ = values;
  if (now >= next_draw_ns_) Draw(now);
}

void Progress::Draw(int64_t now_ns) {
  if (mode_ == ProgressMode::kBar) {
    std::fputs(("\r" + BarLine(now_ns) + "\033[K").c_str(), out_);
    bar_shown_ = true;
    next_draw_ns_ = now_ns + kBarInterval;
  } else if (mode_ == ProgressMode::kPlain) {
    std::fputs((PlainLine(now_ns, false) + "\n").c_str(), out_);
    next_draw_ns_ = now_ns + PlainInterval(now_ns - begin_ns_);
  } else {
    std::fputs((JsonLine(now_ns, "progress") + "\n").c_str(), out_);
    next_draw_ns_ = now_ns + kSecond;
  }
  std::fflush(out_);
}

void Progress::End() {
  const int64_t now = clock_->NowNs();
  ClearBar();
  if (mode_ == ProgressMode::kNone) return;
  const std::string line =
      mode_ == ProgressMode::kJson ? JsonLine(now, "end") : PlainLine(now, true);
  std::fputs((line + "\n").c_str(), out_);
  std::fflush(out_);
}

void Progress::Message(const std::string& text) {
  if (mode_ == ProgressMode::kNone) return;
  ClearBar();
  const std::string line = mode_ == ProgressMode::kJson
                               ? nlohmann::ordered_json{{"event", "message"}, {"text", text}}.dump(
                                     -1, ' ', false, nlohmann::json::error_handler_t::replace)
                               : text;
  std::fputs((line + "\n").c_str(), out_);
  std::fflush(out_);
}

void Progress::ClearBar() {
  if (bar_shown_) std::fputs("\r\033[K", out_);
  bar_shown_ = false;
}

double Progress::Elapsed(int64_t now_ns) const {
  return static_cast<double>(now_ns - begin_ns_) * 1e-9;
}

double Progress::Rate(int64_t now_ns) const {
  const double seconds = Elapsed(now_ns);
  return seconds > 0 ? static_cast<double>(done_ - done_before_) / seconds : 0;
}

double Progress::SecondsLeft(int64_t now_ns) const {
  const double rate = Rate(now_ns);
  if (total_ <= 0 || rate <= 0) return -1;
  return std::max(0.0, static_cast<double>(total_ - done_) / rate);
}

double Progress::Share() const {
  if (total_ <= 0) return 0;
  return std::min(1.0, std::max(0.0, static_cast<double>(done_) / static_cast<double>(total_)));
}

// "epoch 3/8 [=====>      ]  42%  12.3k frames/s  left 1:23  loss 1.234  lr 0.05", never wider
// than the terminal less one column (a full line would wrap).
std::string Progress::BarLine(int64_t now_ns) const {
  const auto room =
      static_cast<size_t>(std::max(10, (columns_ > 0 ? columns_ : TerminalColumns(out_)) - 1));
  std::vector<std::string> words = {Compact(Rate(now_ns)) + " " + unit_ + "/s"};
  const double left = SecondsLeft(now_ns);
  if (left >= 0) words.push_back("left " + Duration(left));
  for (const auto& [name, value] : values_) words.push_back(name + Format(" %.4g", value));
  const std::string share = total_ > 0 ? Format(" %3d%%", static_cast<int>(100 * Share()))
                                       : " " + Compact(static_cast<double>(done_)) + " " + unit_;
  size_t used = phase_.size() + share.size();
  const size_t least_bar = total_ > 0 ? kMinBar + 3 : 0;
  std::string tail;
  for (const std::string& word : words) {
    if (used + least_bar + 2 + word.size() > room) break;
    tail += "  " + word;
    used += 2 + word.size();
  }
  std::string bar;
  if (total_ > 0 && used + least_bar <= room) {
    const size_t width = std::min<size_t>(kMaxBar, room - used - 3);
    const auto full = static_cast<size_t>(Share() * static_cast<double>(width));
    bar = " [" + std::string(full, '=') + (full < width ? ">" : "") +
          std::string(full < width ? width - full - 1 : 0, ' ') + "]";
  }
  return (phase_ + bar + share + tail).substr(0, room);
}

std::string Progress::PlainLine(int64_t now_ns, bool end) const {
  std::string line = phase_ + "  ";
  if (end) {
    line += StrCat(done_, " ", unit_, " in ", Duration(Elapsed(now_ns)));
  } else if (total_ > 0) {
    line += StrCat(Format("%3d%%", static_cast<int>(100 * Share())), "  ", done_, "/", total_, " ",
                   unit_);
  } else {
    line += StrCat(done_, " ", unit_);
  }
  line += "  " + Compact(Rate(now_ns)) + "/s";
  const double left = SecondsLeft(now_ns);
  if (!end && left >= 0) line += "  left " + Duration(left);
  for (const auto& [name, value] : values_) line += "  " + name + Format(" %.4g", value);
  return line;
}

std::string Progress::JsonLine(int64_t now_ns, const char* event) const {
  nlohmann::ordered_json json = {{"event", event},
                                 {"phase", phase_},
                                 {"done", done_},
                                 {"total", total_},
                                 {"unit", unit_},
                                 {"seconds", Elapsed(now_ns)},
                                 {"per_second", Rate(now_ns)}};
  const double left = SecondsLeft(now_ns);
  if (left >= 0) json["seconds_left"] = left;
  for (const auto& [name, value] : values_) json["values"][name] = value;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace mariana
