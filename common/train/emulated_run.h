// What --device=emulated:FILE and the verb `plan` do, whatever the program. Free functions, called
// by a verb.
#pragma once

#include <string>

#include "common/train/plan.h"
#include "common/train/train_run.h"
#include "common/train/train_spec.h"

namespace mariana {

// What a program says of its job.
struct EmulatedJob {
  std::string unit;             // "frames": what a sample is called
  DataParallelOptions workers;  // but for devices and topology
  ParallelSpec parallel;
  PlanSpec plan;
};

// True for --device=emulated:FILE.
bool IsEmulated(const CommandLine& command_line);

// Emulates training on the machine of --device: prints throughput, speed-up and exposed
// communication; writes emulation.json and trace.json into the run directory. Returns the exit
// code.
int EmulateTraining(const CommandLine& command_line, const std::string& run_path,
                    const EffectiveConfig& config, const EmulatedJob& job);

// Prints the plan for the machine of --machine; with --json also writes it there.
int RunPlan(const CommandLine& command_line, const EmulatedJob& job);

}  // namespace mariana
