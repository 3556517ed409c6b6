// summary.json: how a run (or an evaluation) ended, for scripts and later readers. Always has
// program, verb, status, exit_code, config_hash, version, steps, samples, samples_per_second,
// wall_seconds, peak_memory_bytes, stage_seconds, final and best; beside them the machine, the
// libraries' versions and, after a failure, error. Thread-compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "common/base/clock.h"
#include "common/base/error.h"

namespace mariana {

struct Summary {
  std::string program, verb;
  ExitCode exit_code = ExitCode::kOk;  // status follows from it: done, stopped, diverged, failed
  std::string error;                   // the one line of a failure
  std::string config_hash;
  int64_t steps = 0;
  int64_t samples = 0;
  double samples_per_second = 0;
  double wall_seconds = 0;
  int64_t peak_memory_bytes = 0;  // at least this much, where other processes take part
  std::map<std::string, double> stage_seconds;  // "data", "forward", "save" ...
  std::map<std::string, double> final;          // metric -> value at the end
  std::map<std::string, double> best;           // metric -> value at best_step
  int64_t best_step = 0;                        // written only when `best` is not empty
  std::map<std::string, std::string> versions;  // more libraries: "onednn" -> "3.5.3"
  bool keep = false;                            // nothing was done: an earlier file stays as it is
};

// "done", "stopped", "diverged" or "failed".
const char* StatusName(ExitCode code);

// The file's text; adds version, peak memory and machine.
std::string RenderSummary(const Summary& summary);
void WriteSummary(const std::string& path, const Summary& summary);  // atomically

// Runs `body` (which fills `*summary` as it goes) and then writes it to `path`, also when `body`
// throws: then with the failure's code and line, and the exception goes on. wall_seconds is set
// from `clock`. With `keep` set nothing is written.
void RunWithSummary(const std::string& path, Summary* summary, Clock* clock,
                    const std::function<void()>& body);

int64_t PeakMemoryBytes();  // of this process so far, resident

}  // namespace mariana
