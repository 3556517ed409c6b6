// What the agent asks of servers and workers once they are ready, and what they answer. Each is the
// body of a message: a plain value, copied, as both ends are the same executable.
//
//   to workers  "train" TrainCommand      -> "paused" PausedReport, at the limit or the epoch's end
//               "evaluate"                -> "scores" (ClickScores' bytes) ..., then "evaluated"
//               "times"                   -> "times": text, a line for each stage of its feeds
//   to servers  "epoch" EpochCommand      -> "epoch": number: rows evicted
//               "apply" TrainCommand      -> "applied": number: rounds done in all (deterministic)
//   to all      "end"
//   of workers  "warning": text, at any time; "scores" while they train: of what they predicted
//               before each update
// Plain values.
#pragma once

#include <glog/logging.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

namespace mariana {

struct TrainCommand {
  int64_t epoch = 0;
  int64_t epoch_steps = 1;  // as the schedule counts
  bool begins = false;      // the epoch begins (here or, resumed, in its midst); else it goes on
  int64_t first_batch = 0;  // deterministic, then: rounds done of the epoch
  // Deterministic: rounds done in all, where to stop, and steps done before.
  int64_t round = 0, end_round = 0, step = 0;
};

// What "scores" are of: the message's number.
enum class ScoresOf : int64_t { kHeldOut, kTraining };

struct PausedReport {
  int64_t rounds = 0;    // deterministic: of the epoch
  int64_t bad_rows = 0;  // since the worker began
};

struct EpochCommand {
  int64_t epoch = 0;
  bool decay = false;  // sightings age, and old rows are evicted: not where a run is resumed
};

template <class T>
std::string ToBody(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <class T>
T FromBody(const std::string& body) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  CHECK_EQ(body.size(), sizeof(value));
  std::memcpy(&value, body.data(), sizeof(value));
  return value;
}

}  // namespace mariana
