#include "mariana_cluster/learner.h"

#include <cmath>
#include <utility>

#include "common/base/error.h"
#include "common/train/parallel.h"
#include "common/train/shared_net.h"
#include "mariana_cluster/sparse_samples.h"
#include "mariana_cluster/stage_timer.h"

namespace mariana {
namespace {

StepContext ContextOf(const JobSpec& job, int64_t step, const ClickBatch& batch, bool train) {
  StepContext context;
  context.train = train;
  context.seed = static_cast<uint64_t>(job.seed);
  context.rows = batch.rows.rows;
  context.first_sample = step * job.train.batch_size;
  context.batch_rows = batch.rows.rows;
  return context;
}

}  // namespace

void RefuseRunningAverages(const NetPlan& net) {
  if (net.states.empty()) return;
  throw Fail(ExitCode::kUsage,
             "net: batch normalisation averages over all workers of a step, and those of "
             "mariana_cluster take steps of their own: leave it out");
}

std::unique_ptr<Net> MakeWorkerNet(const JobSpec& job, const NetOptions& options) {
  if (job.parallel.split == 1) return Net::Build(job.net, options);
  std::vector<std::unique_ptr<Device>> others;
  for (int d = 1; d < static_cast<int>(job.parallel.split); ++d) {
    others.push_back(MakeCpuDevice(d, static_cast<int>(job.parallel.threads), -1));
  }
  return MakeSharedNet(job.net, options, job.parallel.split_spec(), std::move(others));
}

void CheckWorkerNet(const JobSpec& job, const NetOptions& options) {
  if (job.parallel.split > 1) PlanSplitNet(job.net, options, job.parallel.split_spec());
}

std::unique_ptr<ClickModel> MakeClickModel(const JobSpec& job, const RowPlan& plan,
                                           int64_t joined_columns, Device* device, bool of_worker) {
  ClickModel::Options options;
  options.device = device;
  options.max_rows = job.train.batch_size;
  options.joined_columns = joined_columns;
  options.compute = job.train.compute();
  options.seed = static_cast<uint64_t>(job.seed);
  if (of_worker) options.make_net = [&job](const NetOptions& n) { return MakeWorkerNet(job, n); };
  auto model = std::make_unique<ClickModel>(job.click, job.net, plan, options);
  if (model->net() != nullptr) {
    RefuseRunningAverages(model->net()->plan());
    CheckWorkerNet(job, model->net()->options());
  }
  return model;
}

std::unique_ptr<Device> MakeAgentDevice(const std::string& choice, const TrainSpec& train) {
  ParallelSpec one;
  one.threads = 1;
  if (choice == "cuda") {
    throw Fail(ExitCode::kUsage, "--device=cuda: mariana_cluster computes on CPUs");
  }
  return std::move(MakeDevices(choice == "auto" ? "cpu" : choice, one, train.precision)[0]);
}

ClickLearner::ClickLearner(const JobSpec* job, const RowPlan& plan, int64_t joined_columns,
                           JobMemory* memory, int worker)
    : job_(job),
      memory_(memory),
      worker_(worker),
      device_(MakeCpuDevice(0, static_cast<int>(job->parallel.threads), -1)),
      model_(MakeClickModel(*job, plan, joined_columns, device_.get(), /*of_worker=*/true)),
      tables_(memory->MakeTables()) {
  by_sample_ = job->parallel.access == SparseAccess::kAuto && !job->parallel.deterministic &&
               model_->is_linear() && tables_[0].LearnsBySample() && memory->place.nodes == 1;
  if (memory->place.nodes > 1) remote_ = std::make_unique<RemoteRows>(*job, memory, worker);
  if (memory->dense) {
    dense_ = std::make_unique<DenseStep>(&*memory->dense, model_->net()->plan(),
                                         job->train.optimizer, device_.get());
    Pull();
  }
}

void ClickLearner::Pull() {
  if (dense_ != nullptr) dense_->Pull(model_->net());
}

bool ClickLearner::looks_ahead() const {
  return remote_ != nullptr && job_->parallel.mode != Mode::kBsp;
}
void ClickLearner::Request(Missing missing, const ClickBatch& batch) {
  if (remote_ != nullptr) remote_->Request(missing, batch);
}
void ClickLearner::Forget(const ClickBatch* batch) {
  if (remote_ != nullptr) remote_->Forget(batch);
}
void ClickLearner::Drain() {
  if (remote_ != nullptr) remote_->Drain();
}

void ClickLearner::Gather(Missing missing, ClickBatch* batch) {
  if (job_->parallel.access == SparseAccess::kPerSample) {
    GatherBySample(missing, &tables_, batch);
    return;
  }
  Request(missing, *batch);
  for (size_t t = 0; t < tables_.size(); ++t) {
    TableBatch& b = batch->tables[t];
    const auto n = static_cast<int64_t>(b.keys.size());
    b.rows.resize(b.keys.size());
    b.values.resize(b.keys.size() * static_cast<size_t>(tables_[t].width()));
    tables_[t].Locate(b.keys.data(), n, missing, b.rows.data());
    tables_[t].Gather(b.rows.data(), n, b.values.data());
  }
  if (remote_ != nullptr) remote_->Await(batch);
}

void ClickLearner::Apply(float rate, ClickBatch* batch) {
  if (job_->parallel.access == SparseAccess::kPerSample) {
    ApplyBySample(rate, &tables_, batch);
    return;
  }
  if (remote_ != nullptr) remote_->Push(rate, *batch);
  for (size_t t = 0; t < tables_.size(); ++t) {
    TableBatch& b = batch->tables[t];
    tables_[t].Apply(b.rows.data(), static_cast<int64_t>(b.rows.size()), b.gradients.data(), rate);
  }
}

ClickLearner::Losses ClickLearner::ForwardBackward(int64_t step, Missing missing,
                                                   ClickBatch* batch) {
  StageTimer timer(memory_, worker_);
  if (job_->parallel.access == SparseAccess::kPerSample) SplitIntoSamples(batch);
  Gather(missing, batch);
  timer.Add(WorkerStage::kGather);
  const StepContext context = ContextOf(*job_, step, *batch, true);
  model_->Forward(context, batch);
  gradients_.resize(static_cast<size_t>(batch->rows.rows));
  Losses losses;
  losses.loss = ClickLossOf(job_->click.loss, batch->rows, batch->logits.data(), gradients_.data());
  for (const float w : batch->rows.weight) losses.weight += w;
  timer.Add(WorkerStage::kForward);
  CheckFinite(step, losses.loss);
  model_->Backward(context, batch, gradients_.data());
  timer.Add(WorkerStage::kBackward);
  return losses;
}

void ClickLearner::CheckFinite(int64_t step, double loss) const {
  if (std::isfinite(loss)) return;
  throw Fail(ExitCode::kDiverged, "step ", step + 1, ": the loss is ", loss,
             ": training diverged; a smaller learning rate may help");
}

ClickLearner::Losses ClickLearner::TrainBySample(int64_t step, ClickBatch* batch) {
  StageTimer timer(memory_, worker_);
  const RowBatch& rows = batch->rows;
  batch->logits.resize(static_cast<size_t>(rows.rows));
  tables_[0].Learn(
      {rows.begin.data(), rows.key.data(), rows.field.data(), rows.value.data(), rows.label.data(),
       rows.weight.data(), BiasKey(), job_->click.loss == ClickLoss::kSquared},
      0, rows.rows, batch->logits.data());
  Losses losses;
  losses.loss = ClickLossOf(job_->click.loss, rows, batch->logits.data(), nullptr);
  for (const float w : rows.weight) losses.weight += w;
  timer.Add(WorkerStage::kLearn);
  CheckFinite(step, losses.loss);
  return losses;
}

// The net's gradients are sums over the batch's rows; the step is by their mean.
double ClickLearner::DenseScale(const ClickBatch& batch) const {
  return GradientScale(model_->net(), 1 / static_cast<double>(batch.rows.rows),
                       job_->train.optimizer.clip_norm);
}

ClickLearner::Losses ClickLearner::Train(int64_t step, ClickBatch* batch) {
  if (by_sample_) return TrainBySample(step, batch);
  const Losses losses = ForwardBackward(step, Missing::kInsert, batch);
  StageTimer timer(memory_, worker_);
  const ScheduleSpec& schedule = job_->train.schedule;
  const double rate = LearningRate(schedule, step, epoch_steps_);
  Apply(static_cast<float>(rate / schedule.learning_rate), batch);
  timer.Add(WorkerStage::kApply);
  if (dense_ != nullptr) {
    const int64_t slices = memory_->dense->slices();
    const int64_t first = worker_ * slices / std::max<int64_t>(1, job_->parallel.workers);
    dense_->Update({rate, step + 1, DenseScale(*batch)}, first, model_->net());
    timer.Add(WorkerStage::kDense);
  }
  return losses;
}

ClickLearner::Losses ClickLearner::Collect(int64_t step, ClickBatch* batch, BlockUpdate* update) {
  const Losses losses = ForwardBackward(step, Missing::kSkip, batch);
  StageTimer timer(memory_, worker_);
  const bool dense = memory_->dense.has_value();
  update->Set({dense ? DenseScale(*batch) : 1}, *batch, tables_, dense ? &*memory_->dense : nullptr,
              dense ? model_->net()->grads() : nullptr);
  timer.Add(WorkerStage::kApply);
  return losses;
}

void ClickLearner::Score(ClickBatch* batch) {
  if (job_->parallel.access == SparseAccess::kPerSample) SplitIntoSamples(batch);
  Gather(Missing::kSkip, batch);
  Forget(batch);
  model_->Forward(ContextOf(*job_, 0, *batch, false), batch);
}

}  // namespace mariana
