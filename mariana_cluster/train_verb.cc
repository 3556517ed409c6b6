#include <cstdio>

#include "common/train/ranks.h"
#include "common/train/train_run.h"
#include "mariana_cluster/control/node_agent.h"
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
  World* world = cl.ranks->world();
  return RunOnRanks(cl, RunPath(cl, job.name), config,
                    [&](const RunDirectory* run, Summary* summary) {
                      cl.ranks->set_phase("train");
                      if (run == nullptr) return NodeAgent(world).Run();
                      const int code = ClusterTrainer(cl, config, &job, run, summary).Run();
                      LetAgentsGo(world, code);
                      return code;
                    });
}

}  // namespace mariana
