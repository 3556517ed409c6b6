// The verbs of mariana_cluster: each takes a command line and returns an exit code, or throws
// Error.
#pragma once

#include "common/train/command_line.h"

namespace mariana {

int TrainVerb(const CommandLine& command_line);
int EvaluateVerb(const CommandLine& command_line);
int PredictVerb(const CommandLine& command_line);
int ExportVerb(const CommandLine& command_line);
int InspectVerb(const CommandLine& command_line);  // a model, run or checkpoint
// Jobs in the background, and looking at them (mariana_cluster/trace).
int SubmitVerb(const CommandLine& command_line);
int StatusVerb(const CommandLine& command_line);
int TraceVerb(const CommandLine& command_line);
int StopVerb(const CommandLine& command_line);
int DocumentVerb(const CommandLine& command_line);  // markdown or JSON Schema of the config

// What the agent (TrainVerb) starts this executable again as.
int ServerVerb(const CommandLine& command_line);
int WorkerVerb(const CommandLine& command_line);

// `train --check`: validates everything and prints the plan; trains nothing.
int CheckJob(const CommandLine& command_line);

}  // namespace mariana
