#include <cstdio>

#include "common/train/emulated_run.h"
#include "common/train/train_run.h"
#include "mariana_cnn/trainer.h"
#include "mariana_cnn/verbs.h"

namespace mariana {

int TrainVerb(const CommandLine& cl) {
  if (cl.check) return CheckJob(cl);
  if (IsEmulated(cl) && !cl.print_config) return EmulateJob(cl);
  ImageJob job(cl);
  if (cl.print_config) {
    std::fputs(job.effective.yaml.c_str(), stdout);
    return 0;
  }
  return RunOnRanks(
      cl, job.run_path(), job.effective,
      [&](const RunDirectory* run, Summary* summary) { return Trainer(&job, run, summary).Run(); });
}

}  // namespace mariana
