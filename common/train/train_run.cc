#include "common/train/train_run.h"

#include <filesystem>

#include "common/train/ranks.h"
#include "common/train/run_log.h"

namespace mariana {

std::string RunPath(const CommandLine& cl, const std::string& job) {
  return cl.run_dir.empty() ? "runs/" + job : cl.run_dir;
}

namespace {

Summary EmptySummary(const CommandLine& cl, const EffectiveConfig& config) {
  Summary summary;
  summary.program = cl.program;
  summary.verb = cl.verb;
  summary.config_hash = config.hash;
  return summary;
}

// A failure that leaves no time for more than this.
void TellLastWords(const std::string& path, Summary summary, const Error& error) {
  summary.exit_code = error.code();
  summary.error = error.message();
  try {
    WriteSummary(path, summary);
  } catch (const Error&) {  // the first failure is the one to tell
  }
}

}  // namespace

int RunInDirectory(const CommandLine& cl, const std::string& path, const EffectiveConfig& config,
                   const std::function<int(const RunDirectory&, Summary*)>& train) {
  const RunDirectory run(path, cl.resume);
  LogToFolder(run.log_path(), 0);
  Summary summary = EmptySummary(cl, config);
  int code = 0;
  RunWithSummary(run.summary_path(), &summary, Clock::Real(), [&] { code = train(run, &summary); });
  return code;
}

int RunOnRanks(const CommandLine& cl, const std::string& path, const EffectiveConfig& config,
               const std::function<int(const RunDirectory*, Summary*)>& train) {
  Ranks* const ranks = cl.ranks;
  ranks->CheckSame("a config of hash", config.hash, "give all ranks the same config and overrides");
  if (!ranks->first()) {
    ranks->Barrier();  // rank 0 has the directory
    std::error_code error;
    std::filesystem::create_directories(path + "/log", error);
    if (!error) LogToFolder(path + "/log", ranks->rank());
    Summary summary;
    return train(nullptr, &summary);
  }
  return RunInDirectory(cl, path, config, [&](const RunDirectory& run, Summary* summary) {
    ranks->set_last_words([path = run.summary_path(), empty = EmptySummary(cl, config)](
                              const Error& error) { TellLastWords(path, empty, error); });
    ranks->Barrier();
    try {
      return train(&run, summary);
    } catch (const Error& e) {
      throw ranks->CauseOf(e);
    }
  });
}

}  // namespace mariana
