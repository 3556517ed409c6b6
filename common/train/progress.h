// Progress: what a person or a log sees while a loop runs. On a terminal one line is redrawn
// (bar, share, rate, time left, loss); in a log plain lines come at growing intervals, without
// carriage returns; json gives one object a line for other programs.
//
// Update is cheap (a clock reading) and may be called every step. Thread-compatible: one thread
// drives it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"

namespace mariana {

enum class ProgressMode { kAuto, kBar, kPlain, kJson, kNone };

// "auto", "bar", "plain", "json", "none"; kUsage for another word.
ProgressMode ParseProgressMode(const std::string& word);

class Progress {
 public:
  // kAuto: a bar when `out` is a terminal, else plain. `columns` 0: ask the terminal.
  Progress(ProgressMode mode, Clock* clock, std::FILE* out, int columns = 0);
  ~Progress();  // clears an open bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Starts counting `total` units ("frames") for a phase ("epoch 3/8", "evaluate"). total 0:
  // not known. `done` of them were done before (resumed) and do not count for the rate.
  void Begin(const std::string& phase, int64_t total, const std::string& unit, int64_t done = 0);
  // `values` are shown in this order: {{"loss", 1.234}, {"lr", 0.05}}.
  void Update(int64_t done, const std::vector<std::pair<std::string, double>>& values);
  // Ends the phase with a line of its totals, which stays on a terminal, too.
  void End();
  // A line to keep, above the bar.
  void Message(const std::string& text);

  ProgressMode mode() const { return mode_; }  // never kAuto

 private:
  double Elapsed(int64_t now_ns) const;      // seconds since Begin
  double Rate(int64_t now_ns) const;         // units per second
  double SecondsLeft(int64_t now_ns) const;  // -1: not known
  double Share() const;                      // 0..1
  std::string BarLine(int64_t now_ns) const;
  std::string PlainLine(int64_t now_ns, bool end) const;
  std::string JsonLine(int64_t now_ns, const char* event) const;
  void Draw(int64_t now_ns);
  void ClearBar();

  ProgressMode mode_;
  Clock* clock_;
  std::FILE* out_;
  int columns_;
  bool bar_shown_ = false;
  std::string phase_, unit_;
  int64_t total_ = 0, done_ = 0, done_before_ = 0;
  int64_t begin_ns_ = 0, next_draw_ns_ = 0;
  std::vector<std::pair<std::string, double>> values_;
};

}  // namespace mariana
