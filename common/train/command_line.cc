#include "common/train/command_line.h"

#include <gflags/gflags.h>
#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/train/ranks.h"
#include "common/train/run_log.h"
#include "common/train/signals.h"
#include "common/train/version.h"

// "VALUE|what it does", for --help.
DEFINE_string(config, "", "FILE|the job, YAML; docs/CONFIG.md lists every key");
DEFINE_string(run_dir, "", "DIR|where the run is kept (default runs/<job name>)");
DEFINE_string(device, "auto", "D|auto, cpu, cuda or emulated:FILE (default auto)");
DEFINE_string(machine, "", "FILE|plan: the machine, as in configs/machines");
DEFINE_string(json, "", "FILE|plan: write the table there, too");
DEFINE_bool(resume, false, "|go on with the run in the run directory");
DEFINE_bool(check, false, "|check job and data, print the layer table, exit");
DEFINE_bool(print_config, false, "|print the effective job with the origin of each value, exit");
DEFINE_string(progress, "auto", "P|auto, bar, plain, json or none (default auto)");
DEFINE_int32(nodes, 1, "N|submit: start it on so many nodes, through mpirun");
DEFINE_double(seconds, 0, "S|trace: record for so long, into --output");
DEFINE_string(output, "", "FILE|trace: a Chrome trace");

namespace mariana {
namespace {

// In the order of --help. gflags and glog define more (help, version and v among them); a user
// may give these, and those that the program names.
constexpr const char* kFlags[] = {"config",       "run_dir",  "device",  "resume", "check",
                                  "print_config", "progress", "machine", "json",   "v"};

template <class... Args>
Error UsageError(const Args&... what) {
  return Fail(ExitCode::kUsage, what..., " (--help lists what there is)");
}

std::string Suggest(const std::string& word, const std::vector<std::string>& candidates,
                    const char* prefix = "") {
  const std::string near = DidYouMean(word, candidates);
  return near.empty() ? "" : StrCat("; did you mean ", prefix, near, "?");
}

std::vector<std::string> FlagsOf(const ProgramInfo& info) {
  std::vector<std::string> flags(std::begin(kFlags), std::end(kFlags));
  flags.insert(flags.end() - 1, info.flags.begin(), info.flags.end());
  return flags;
}

Error UnknownFlag(const std::string& name, std::vector<std::string> candidates) {
  candidates.insert(candidates.end(), {"help", "version"});
  return UsageError("unknown flag --", name, Suggest(name, candidates, "--"));
}

// Sets the flag words[*i] (and takes its value from the next word where it has none). gflags'
// own parser would end the process on a mistake.
void ParseFlag(const ProgramInfo& info, const std::vector<std::string>& words, size_t* i) {
  const std::vector<std::string> flags = FlagsOf(info);
  const auto is_ours = [&flags](const std::string& name) {
    return std::find(flags.begin(), flags.end(), name) != flags.end();
  };
  const std::string& word = words[*i];
  const size_t begin = word.find_first_not_of('-'), equals = word.find('=');
  std::string name = word.substr(begin, equals - begin);
  std::replace(name.begin(), name.end(), '-', '_');
  gflags::CommandLineFlagInfo flag;
  std::string value = equals == std::string::npos ? "true" : word.substr(equals + 1);
  if (!is_ours(name) && name.compare(0, 2, "no") == 0 && equals == std::string::npos &&
      is_ours(name.substr(2))) {  // --noresume
    name = name.substr(2);
    value = "false";
  }
  if (!is_ours(name) || !gflags::GetCommandLineFlagInfo(name.c_str(), &flag)) {
    throw UnknownFlag(name, flags);
  }
  if (flag.type != "bool" && equals == std::string::npos) {
    if (value == "false" || *i + 1 == words.size()) throw UsageError("--", name, " needs a value");
    value = words[++*i];
  }
  if (gflags::SetCommandLineOption(name.c_str(), value.c_str()).empty()) {
    throw UsageError("--", name, "=", value, ": not a ", flag.type);
  }
}

// "train.epochs=5" is, "data/a=b" is not.
bool IsOverride(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0) return false;
  return std::all_of(word.begin(), word.begin() + static_cast<ptrdiff_t>(equals), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_.-[]", c) != nullptr;
  });
}

void CheckDevice(const std::string& device) {
  static constexpr char kEmulated[] = "emulated:";
  if (device == "auto" || device == "cpu" || device == "cuda") return;
  if (device.compare(0, sizeof(kEmulated) - 1, kEmulated) == 0 &&
      device.size() > sizeof(kEmulated) - 1) {
    return;
  }
  throw Fail(ExitCode::kUsage, "--device=", device, ": must be auto, cpu, cuda or emulated:FILE",
             Suggest(device, {"auto", "cpu", "cuda", "emulated:FILE"}));
}

const Verb* FindVerb(const ProgramInfo& info, const std::string& name) {
  for (const Verb& verb : info.verbs) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

const Verb& ChooseVerb(const ProgramInfo& info, const std::vector<std::string>& words) {
  if (words.empty() || IsOverride(words[0])) return info.verbs.front();
  if (const Verb* verb = FindVerb(info, words[0])) return *verb;
  std::vector<std::string> names;
  for (const Verb& verb : info.verbs) {
    if (*verb.doc != '\0') names.push_back(verb.name);
  }
  throw UsageError("unknown verb '", words[0], "'", Suggest(words[0], names));
}

std::string FlagLine(const std::string& left, const std::string& doc) {
  return "  " + left + std::string(left.size() < 18 ? 18 - left.size() : 2, ' ') + doc + "\n";
}

std::string HelpText(const ProgramInfo& info) {
  std::string text = StrCat(info.name, ": ", info.description, "\n\nusage: ", info.name,
                            " [VERB] --config=FILE [key.path=value ...] [flags]\n\nverbs:\n");
  for (const Verb& verb : info.verbs) {
    if (*verb.doc == '\0') continue;
    const std::string left =
        *verb.arguments ? StrCat(verb.name, " ", verb.arguments) : std::string(verb.name);
    text += FlagLine(left, StrCat(verb.doc, &verb == &info.verbs.front() ? " (the default)" : ""));
  }
  text += "\nkey.path=value sets a key of the job: train.epochs=5\n\nflags:\n";
  for (const std::string& name : FlagsOf(info)) {
    gflags::CommandLineFlagInfo flag;
    if (name == "v" || !gflags::GetCommandLineFlagInfo(name.c_str(), &flag)) continue;
    const size_t bar = flag.description.find('|');
    const std::string value = flag.description.substr(0, bar);
    text += FlagLine(StrCat("--", name, value.empty() ? "" : "=" + value),
                     flag.description.substr(bar + 1));
  }
  text += FlagLine("--v=N", "more detail in the run directory's log");
  text += FlagLine("--version", "print the version, exit");
  text += FlagLine("--help", "print this, exit");
  text +=
      "\nexit codes: 0 done, 64 usage or job file, 65 bad data or model, 70 internal error,\n"
      "  73 cannot create output, 74 I/O error or disk full, 75 stopped by a signal after saving\n"
      "  (--resume goes on), 76 diverged, 77 lost workers, 128+n killed\n";
  return text;
}

// Every line of the message as a line of its own, so that each can be found in a log.
int ReportError(const char* program, const char* kind, const std::string& message, ExitCode code) {
  std::fflush(stdout);
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = message.find('\n', begin);
    const std::string line = message.substr(begin, end - begin);
    if (begin > 0 && line.empty()) continue;  // after a last newline
    std::fprintf(stderr, "%s: %s%s\n", program, kind, line.c_str());
  }
  return static_cast<int>(code);
}

// What is still in stdout's buffer may not fit on its disk. A reader that went away chose to.
int FlushOutput(const char* program, int code) {
  if (std::fflush(stdout) == 0 || errno == EPIPE || code != 0) return code;
  return ReportError(program, "error: ", StrCat("cannot write output: ", std::strerror(errno)),
                     ExitCode::kIo);
}

int RunVerb(const ProgramInfo& info, const std::vector<std::string>& words,
            std::unique_ptr<Ranks>* ranks) {
  const auto given = [&](const char* flag) {
    const auto end = std::find(words.begin(), words.end(), "--");
    return std::find(words.begin(), end, flag) != end;
  };
  if (given("--help") || given("-help") || given("-h")) {
    std::fputs(HelpText(info).c_str(), stdout);
    return 0;
  }
  if (given("--version")) {
    std::printf("%s %s\n", info.name, kVersion);
    return 0;
  }
  CommandLine line = ParseCommandLine(info, words);
  const Verb& verb = *FindVerb(info, line.verb);
  FLAGS_v = line.verbosity;
  if (verb.ranks) {
    *ranks = Ranks::Join(info.name);
    line.ranks = ranks->get();
  } else if (IsOneOfSeveral()) {
    throw UsageError(line.verb, " runs as one process, not under mpirun");
  }
  const bool saves = verb.saves && !line.check && !line.print_config;
  HandleStopSignals(info.name, line.ranks && !line.ranks->first() ? StopNotice::kNone
                               : saves                            ? StopNotice::kSaves
                                                                  : StopNotice::kStops);
  const int code = verb.run(line);
  if (line.ranks) line.ranks->Leave();
  return code;
}

}  // namespace

CommandLine ParseCommandLine(const ProgramInfo& info, const std::vector<std::string>& words) {
  CommandLine line;
  std::vector<std::string> plain;
  gflags::FlagSaver restores_what_this_call_sets;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      plain.insert(plain.end(), words.begin() + static_cast<ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (words[i].size() > 1 && words[i][0] == '-') {
      ParseFlag(info, words, &i);
    } else {
      plain.push_back(words[i]);
    }
  }
  const Verb& verb = ChooseVerb(info, plain);
  line.program = info.name;
  line.verb = verb.name;
  if (!plain.empty() && plain[0] == verb.name) plain.erase(plain.begin());
  for (const std::string& word : plain) {
    (IsOverride(word) ? line.overrides : line.arguments).push_back(word);
  }
  if (!line.arguments.empty() && *verb.arguments == '\0') {
    throw UsageError(line.verb, " takes no argument '", line.arguments[0], "'",
                     FindVerb(info, line.arguments[0]) ? "; the verb comes first" : "");
  }
  if (verb.needs_config && FLAGS_config.empty()) {
    throw UsageError(line.verb, " needs --config=FILE");
  }
  line.config = FLAGS_config;
  line.run_dir = FLAGS_run_dir;
  line.device = FLAGS_device;
  line.machine = FLAGS_machine;
  line.json = FLAGS_json;
  line.nodes = FLAGS_nodes;
  line.seconds = FLAGS_seconds;
  line.output = FLAGS_output;
  line.resume = FLAGS_resume;
  line.check = FLAGS_check;
  line.print_config = FLAGS_print_config;
  line.verbosity = FLAGS_v;
  line.progress = ParseProgressMode(FLAGS_progress);
  CheckDevice(line.device);
  return line;
}

int RunProgram(const ProgramInfo& info, int argc, char** argv) {
  InitLog(info.name);
  std::unique_ptr<Ranks> ranks;
  const auto failed = [&](const char* kind, const Error& error) {
    if (!ranks || ranks->size() == 1) {
      return ReportError(info.name, kind, error.message(), error.code());
    }
    const Ranks::Ending ending = ranks->Settle(error);
    if (ending.speak) {
      ReportError(info.name, "error: ", ending.error.message(), ending.error.code());
    }
    google::FlushLogFiles(google::GLOG_INFO);
    _exit(static_cast<int>(ending.error.code()));
  };
  try {
    return FlushOutput(info.name,
                       RunVerb(info, std::vector<std::string>(argv + 1, argv + argc), &ranks));
  } catch (const Error& e) {
    return failed(e.code() == ExitCode::kStopped ? "" : "error: ", e);
  } catch (const std::bad_alloc&) {
    return failed("internal error: ", Error(ExitCode::kInternal, "out of memory"));
  } catch (const std::exception& e) {
    return failed("internal error: ", Error(ExitCode::kInternal, e.what()));
  }
}

}  // namespace mariana
