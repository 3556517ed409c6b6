// The verbs of mariana_cnn: each takes a command line and returns an exit code, or throws Error.
#pragma once

#include "common/train/command_line.h"

namespace mariana {

int TrainVerb(const CommandLine& command_line);
int EvaluateVerb(const CommandLine& command_line);
int PredictVerb(const CommandLine& command_line);
int FeaturesVerb(const CommandLine& command_line);
int ExportVerb(const CommandLine& command_line);
int PackVerb(const CommandLine& command_line);
int InspectVerb(const CommandLine& command_line);  // a model, run or checkpoint
int PlanVerb(const CommandLine& command_line);
int DocumentVerb(const CommandLine& command_line);  // markdown or JSON Schema of the config

// `train --check`: validates everything and prints the plan; trains nothing.
int CheckJob(const CommandLine& command_line);

// `train --device=emulated:FILE`.
int EmulateJob(const CommandLine& command_line);

}  // namespace mariana
