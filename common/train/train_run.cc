#include "common/train/train_run.h"

#include "common/train/run_log.h"

namespace mariana {

std::string RunPath(const CommandLine& cl, const std::string& job) {
  return cl.run_dir.empty() ? "runs/" + job : cl.run_dir;
}

int RunInDirectory(const CommandLine& cl, const std::string& path, const EffectiveConfig& config,
                   const std::function<int(const RunDirectory&, Summary*)>& train) {
  const RunDirectory run(path, cl.resume);
  LogToFolder(run.log_path(), 0);
  Summary summary;
  summary.program = cl.program;
  summary.verb = cl.verb;
  summary.config_hash = config.hash;
  int code = 0;
  RunWithSummary(run.summary_path(), &summary, Clock::Real(), [&] { code = train(run, &summary); });
  return code;
}

}  // namespace mariana
