// plan, and train on an emulated machine.
#include "common/train/emulated_run.h"
#include "mariana_cnn/image_job.h"
#include "mariana_cnn/verbs.h"

namespace mariana {
namespace {

EmulatedJob JobOf(ImageJob* job) {
  const JobSpec& spec = job->spec;
  EmulatedJob out;
  out.unit = "images";
  out.parallel = spec.parallel;
  out.parallel.ShareOut(1);
  out.plan = spec.plan;
  out.workers = WorkerOptions(spec.train, spec.parallel, Topology::kLinear, {});
  out.workers.net = &spec.net;
  out.workers.ema = spec.train.ema;
  if (!spec.has_classes()) {
    out.workers.label = Shape{1};
    out.workers.label_dtype = Dtype::kF32;
  }
  if (!spec.plan.input.empty()) {
    out.workers.input = Shape(spec.plan.input);
    out.workers.outputs = spec.plan.outputs;
  } else {
    const TrainingData data = OpenForTraining(*job);
    const ModelSpec model = ModelOf(job, *data.train.images);
    out.workers.input = model.input();
    out.workers.outputs = model.num_outputs;
  }
  return out;
}

}  // namespace

int EmulateJob(const CommandLine& cl) {
  ImageJob job(cl);
  return EmulateTraining(cl, job.run_path(), job.effective, JobOf(&job));
}

int PlanVerb(const CommandLine& cl) {
  ImageJob job(cl);
  return RunPlan(cl, JobOf(&job));
}

}  // namespace mariana
