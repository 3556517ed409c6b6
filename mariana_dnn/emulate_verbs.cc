// plan, and train on an emulated machine.
#include "common/train/emulated_run.h"
#include "mariana_dnn/speech_job.h"
#include "mariana_dnn/verbs.h"

namespace mariana {
namespace {

EmulatedJob JobOf(const SpeechJob& job) {
  const JobSpec& spec = job.spec;
  EmulatedJob out;
  out.unit = "frames";
  out.parallel = spec.parallel;
  out.parallel.ShareOut(1);
  out.plan = spec.plan;
  out.workers = WorkerOptions(spec.train, spec.parallel, Topology::kLinear, {});
  out.workers.net = &spec.net;
  out.workers.outputs = job.num_labels;
  if (!spec.plan.input.empty()) {
    out.workers.input = Shape(spec.plan.input);
    out.workers.outputs = spec.plan.outputs;
  } else {
    FrameModel model;
    model.feature_dim = OpenForTraining(job).train->dim();
    model.context = spec.data.context;
    out.workers.input = model.input();
  }
  return out;
}

}  // namespace

int EmulateJob(const CommandLine& cl) {
  const SpeechJob job(cl);
  return EmulateTraining(cl, job.run_path(), job.effective, JobOf(job));
}

int PlanVerb(const CommandLine& cl) { return RunPlan(cl, JobOf(SpeechJob(cl))); }

}  // namespace mariana
