#include "common/train/model_files.h"
#include "mariana_dnn/job.h"
#include "mariana_dnn/verbs.h"

namespace mariana {

int DocumentVerb(const CommandLine& cl) {
  JobSpec spec;
  return DocumentJob(cl, [&spec](Fields* f) { spec.Describe(f); });
}

}  // namespace mariana
