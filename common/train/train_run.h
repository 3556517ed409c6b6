// One start of a run: its directory, log and summary around whatever a program's trainer does.
// Free functions, called by a verb.
//
// On a job of several ranks, rank 0 alone has the directory; the others add a log to it where they
// reach it.
#pragma once

#include <functional>
#include <string>

#include "common/config/config.h"
#include "common/train/command_line.h"
#include "common/train/run_directory.h"
#include "common/train/summary.h"

namespace mariana {

// runs/<job name>, or --run_dir.
std::string RunPath(const CommandLine& command_line, const std::string& job);

// Opens the run's directory, logs into it, calls `train` and writes the summary that it fills,
// whatever became of it. Returns what `train` returns.
int RunInDirectory(const CommandLine& command_line, const std::string& path,
                   const EffectiveConfig& config,
                   const std::function<int(const RunDirectory& run, Summary* summary)>& train);

// The same on all ranks of a job, which must have the same config (Error(kUsage) where they have
// not). `run` is null on all but rank 0.
int RunOnRanks(const CommandLine& command_line, const std::string& path,
               const EffectiveConfig& config,
               const std::function<int(const RunDirectory* run, Summary* summary)>& train);

}  // namespace mariana
