#include <cstdio>

#include "common/base/error.h"
#include "common/train/run_log.h"
#include "mariana_dnn/trainer.h"
#include "mariana_dnn/verbs.h"

namespace mariana {

int TrainVerb(const CommandLine& cl) {
  if (cl.check) return CheckJob(cl);
  SpeechJob job(cl);
  if (cl.print_config) {
    std::fputs(job.effective.yaml.c_str(), stdout);
    return 0;
  }
  const RunDirectory run(job.run_path(), cl.resume);
  LogToFolder(run.log_path(), 0);
  Summary summary;
  summary.program = cl.program;
  summary.verb = cl.verb;
  summary.config_hash = job.effective.hash;
  int code = 0;
  RunWithSummary(run.summary_path(), &summary, Clock::Real(),
                 [&] { code = Trainer(&job, &run, &summary).Run(); });
  return code;
}

}  // namespace mariana
