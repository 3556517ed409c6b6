// The command line that all programs share:
//
//   PROGRAM [verb] --config=FILE [key.path=value ...] [flags]
//
// RunProgram parses it, sets up logs and signals, runs the verb and turns failures into exit
// codes: the last line on stderr is `PROGRAM: error: what`. Under mpirun it joins the ranks of the
// job (ranks.h) first: one of them prints that line, and all end with that code. Call it once, from
// main.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/train/progress.h"

namespace mariana {

class Ranks;

struct CommandLine {
  std::string program;
  std::string verb;
  std::string config;           // --config, "" if not given
  std::string run_dir;          // --run_dir, "" if not given: runs/<job name>
  std::string machine;          // --machine, of `plan`
  std::string json;             // --json, likewise
  std::string device = "auto";  // auto, cpu, cuda or emulated:FILE
  bool resume = false;
  bool check = false;
  bool print_config = false;
  ProgressMode progress = ProgressMode::kAuto;
  // Of mariana_cluster.
  int nodes = 1;       // --nodes, of `submit`
  double seconds = 0;  // --seconds and --output, of `trace`
  std::string output;
  int verbosity = 0;                   // --v, glog's
  std::vector<std::string> overrides;  // "key.path=value", in order
  std::vector<std::string> arguments;  // other words after the verb
  Ranks* ranks = nullptr;              // of the job: set where the verb may have several
};

struct Verb {
  const char* name;
  const char* doc;                             // one line for --help; "": not listed there
  std::function<int(const CommandLine&)> run;  // returns the exit code
  bool needs_config = true;                    // --config must be given
  const char* arguments = "";                  // "MODEL OUT.ark" for --help; "": takes none
  bool saves = false;                          // a stop request saves a checkpoint first
  bool ranks = false;                          // mpirun may start it several times, as one job
};

struct ProgramInfo {
  const char* name;                     // mariana_dnn
  const char* description;              // one sentence
  std::vector<Verb> verbs;              // the first is the default (train)
  std::vector<std::string> flags = {};  // that it has beside those of all: "nodes"
};

// 0 for --help and --version; else what the verb returns, or the code of the Error it throws
// (std::bad_alloc and other exceptions: 70).
int RunProgram(const ProgramInfo& info, int argc, char** argv);

// The words and flags of a command line; throws Error(kUsage). Leaves --help and --version to
// RunProgram.
CommandLine ParseCommandLine(const ProgramInfo& info, const std::vector<std::string>& words);

}  // namespace mariana
