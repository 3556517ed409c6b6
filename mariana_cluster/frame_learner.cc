#include "mariana_cluster/frame_learner.h"

#include <glog/logging.h>

#include <cmath>
#include <cstring>

#include "common/base/error.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/stage_timer.h"

namespace mariana {

// [dim | mean | scale]
std::string FrameFacts::ToBytes() const {
  std::string bytes(reinterpret_cast<const char*>(&dim), sizeof(dim));
  for (const auto* v : {&mean, &scale}) {
    bytes.append(reinterpret_cast<const char*>(v->data()), v->size() * sizeof(float));
  }
  return bytes;
}

FrameFacts FrameFacts::FromBytes(const std::string& bytes) {
  FrameFacts facts;
  CHECK_GE(bytes.size(), sizeof(facts.dim));
  std::memcpy(&facts.dim, bytes.data(), sizeof(facts.dim));
  const size_t n = (bytes.size() - sizeof(facts.dim)) / (2 * sizeof(float));
  CHECK(n == 0 || n == static_cast<size_t>(facts.dim));
  const char* at = bytes.data() + sizeof(facts.dim);
  for (auto* v : {&facts.mean, &facts.scale}) {
    v->resize(n);
    if (n > 0) std::memcpy(v->data(), at, n * sizeof(float));
    at += n * sizeof(float);
  }
  return facts;
}

NetOptions FrameNetOptions(const JobSpec& job, int64_t dim, Device* device) {
  const FrameDataSpec& data = job.data.frames;
  NetOptions options;
  options.device = device;
  options.max_rows = job.train.batch_size;
  options.input = Shape{(data.context.left + 1 + data.context.right) * dim};
  options.outputs = data.num_labels;
  options.compute = job.train.compute();
  return options;
}

NetPlan PlanFrameNet(const JobSpec& job, int64_t dim, Device* device) {
  NetPlan plan = PlanNet(job.net, FrameNetOptions(job, dim, device));
  RefuseRunningAverages(plan);
  CheckWorkerNet(job, FrameNetOptions(job, dim, device));
  return plan;
}

FrameLearner::FrameLearner(const JobSpec* job, int64_t dim, JobMemory* memory, int worker)
    : job_(job),
      memory_(memory),
      worker_(worker),
      device_(MakeCpuDevice(0, static_cast<int>(job->parallel.threads), -1)),
      net_(MakeWorkerNet(*job, FrameNetOptions(*job, dim, device_.get()))),
      frames_(std::make_unique<WorkerFrames>(*net_, job->data.frames.context)),
      dense_(std::make_unique<DenseStep>(&*memory->dense, net_->plan(), job->train.optimizer,
                                         device_.get())) {
  Pull();
}

LossSums FrameLearner::ForwardBackward(int64_t step, const FrameBatch& batch) {
  StageTimer timer(memory_, worker_);
  const DeviceBatch input = frames_->Take(batch, 0, batch.rows());
  timer.Add(WorkerStage::kGather);
  StepContext context;
  context.seed = static_cast<uint64_t>(job_->seed);
  context.rows = context.batch_rows = batch.rows();
  context.first_sample = step * job_->train.batch_size;
  net_->Forward(context, input.input);
  const LossSums sums = net_->Loss(context, input.labels);
  timer.Add(WorkerStage::kForward);
  if (!std::isfinite(sums.loss)) {
    throw Fail(ExitCode::kDiverged, "step ", step + 1, ": the loss is ", sums.loss,
               ": training diverged; a smaller learning rate may help");
  }
  net_->Backward(context, input.input);
  timer.Add(WorkerStage::kBackward);
  return sums;
}

// The loss's gradient is of the mean already.
double FrameLearner::Scale() const {
  return GradientScale(net_.get(), 1, job_->train.optimizer.clip_norm);
}

StepSums FrameLearner::Train(int64_t step, const FrameBatch& batch, int64_t* correct) {
  const LossSums sums = ForwardBackward(step, batch);
  StageTimer timer(memory_, worker_);
  const double rate = LearningRate(job_->train.schedule, step, epoch_steps_);
  // Workers begin at different slices.
  const int64_t first = worker_ * memory_->dense->slices() / job_->parallel.workers;
  dense_->Update({rate, step + 1, Scale()}, first, net_.get());
  timer.Add(WorkerStage::kDense);
  *correct = sums.correct;
  return {batch.rows(), sums.loss, static_cast<double>(batch.rows())};
}

StepSums FrameLearner::Collect(int64_t step, const FrameBatch& batch, BlockUpdate* update,
                               int64_t* correct) {
  const LossSums sums = ForwardBackward(step, batch);
  StageTimer timer(memory_, worker_);
  update->Set({Scale()}, {}, {}, &*memory_->dense, net_->grads());
  timer.Add(WorkerStage::kApply);
  *correct = sums.correct;
  return {batch.rows(), sums.loss, static_cast<double>(batch.rows())};
}

LossSums FrameLearner::Score(const FrameBatch& batch) {
  const DeviceBatch input = frames_->Take(batch, 0, batch.rows());
  StepContext context;
  context.train = false;
  context.rows = context.batch_rows = batch.rows();
  net_->Forward(context, input.input);
  return net_->Loss(context, input.labels);
}

}  // namespace mariana
