#include "common/machine/machine.h"
#include "common/train/model_files.h"
#include "mariana_dnn/job.h"
#include "mariana_dnn/verbs.h"

namespace mariana {

int DocumentVerb(const CommandLine& cl) {
  if (cl.arguments.size() == 2 && cl.arguments[1] == "machine") {
    CommandLine of_machines = cl;
    of_machines.program = "machine";
    Machine machine;
    return DocumentJob(of_machines, [&machine](Fields* f) { machine.Describe(f); });
  }
  JobSpec spec;
  return DocumentJob(cl, [&spec](Fields* f) { spec.Describe(f); });
}

}  // namespace mariana
