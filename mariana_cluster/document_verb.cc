#include "common/train/model_files.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/verbs.h"

namespace mariana {

int DocumentVerb(const CommandLine& cl) {
  JobSpec spec;
  return DocumentJob(cl, [&spec](Fields* f) { spec.Describe(f); });
}

}  // namespace mariana
