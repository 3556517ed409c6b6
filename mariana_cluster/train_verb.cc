#include <cstdio>

#include "common/train/train_run.h"
#include "mariana_cluster/trainer.h"
#include "mariana_cluster/verbs.h"

namespace mariana {

int TrainVerb(const CommandLine& cl) {
  if (cl.check) return CheckJob(cl);
  JobSpec job;
  const EffectiveConfig config =
      LoadConfig({cl.config, cl.overrides}, [&job](Fields* f) { job.Describe(f); });
  if (cl.print_config) {
    std::fputs(config.yaml.c_str(), stdout);
    return 0;
  }
  return RunInDirectory(cl, RunPath(cl, job.name), config,
                        [&](const RunDirectory& run, Summary* summary) {
                          return ClickTrainer(cl, config, &job, &run, summary).Run();
                        });
}

}  // namespace mariana
