// How a run begins: data, workers, and the values it starts or goes on with.
#include <algorithm>
#include <optional>

#include "common/base/error.h"
#include "mariana_dnn/trainer.h"

namespace mariana {

void Trainer::OpenData() {
  const DataSpec& data = job_->spec.data;
  Say("opening data");
  auto [train, valid] = OpenForTraining(*job_);
  train_ = std::move(train);
  valid_ = std::move(valid);
  if (data.features.normalise == Normalisation::kGlobal) {
    train_->ComputeGlobalStats(&tables_.mean, &tables_.scale,
                               static_cast<int>(data.reader_threads));
    train_->SetGlobalStats(tables_.mean, tables_.scale);
  }
  std::vector<int64_t> counts(static_cast<size_t>(job_->num_labels), 0);
  for (int u = 0; u < train_->num_utterances(); ++u) {
    for (int32_t label : train_->labels(u)) ++counts[static_cast<size_t>(label)];
  }
  for (int64_t n : counts) {
    tables_.prior.push_back(
        static_cast<float>(static_cast<double>(n) / static_cast<double>(train_->total_frames())));
  }
  if (valid_ && !tables_.mean.empty()) valid_->SetGlobalStats(tables_.mean, tables_.scale);
  model_.feature_dim = train_->dim();
  model_.num_labels = job_->num_labels;
  model_.features = data.features;
  model_.context = data.context;
  model_.net = &job_->spec.net;
  const int64_t batch = job_->spec.train.batch_size;
  steps_in_epoch_ = (train_->total_frames() + batch - 1) / batch;
  Say(StrCat("training set: ", train_->num_utterances(), " utterances, ", train_->total_frames(),
             " frames of ", train_->dim(), " values, ", job_->num_labels, " labels, ",
             steps_in_epoch_, " steps an epoch",
             valid_ ? StrCat("; held out: ", valid_->num_utterances(), " utterances, ",
                             valid_->total_frames(), " frames")
                    : std::string()));
  // Other data under the same names would be read from the wrong place.
  identity_ += StrCat("training_frames: ", train_->total_frames(), "\n");
}

void Trainer::MakeWorkers() {
  const JobSpec& spec = job_->spec;
  topology_ = ChooseTopology(spec.parallel, &topology_reason_);
  DataParallelOptions o;
  for (auto& d : devices_) o.devices.push_back(d.get());
  o.net = &spec.net;
  o.input = model_.input();
  o.outputs = model_.num_labels;
  o.compute = spec.train.precision == Precision::kBf16 ? Dtype::kBF16 : Dtype::kF32;
  o.batch_size = spec.train.batch_size;
  o.accumulate = spec.train.accumulate;
  o.seed = static_cast<uint64_t>(spec.seed);
  o.optimizer = spec.train.optimizer;
  o.topology = topology_;
  o.bucket_bytes = spec.parallel.bucket_bytes;
  workers_ = std::make_unique<DataParallel>(o);
  workers_->EnableProfile(spec.log.profile);
  for (int w = 0; w < workers_->workers(); ++w) {
    const int64_t rows = workers_->net(w)->options().max_rows;
    feeders_.push_back(
        std::make_unique<FrameFeeder>(o.devices[static_cast<size_t>(w)], spec.data.context, rows));
    scorers_.push_back(std::make_unique<FrameScorer>(workers_->net(w), spec.data.context));
  }
  int64_t parameters = 0;
  for (const OpInfo& op : workers_->net(0)->ops()) parameters += op.parameters;
  Say(StrCat("net: ", parameters, " parameters; ", devices_.size(), " x ", devices_[0]->info().name,
             "; topology ", topology_reason_));
}

void Trainer::StartOrResume() {
  const TrainSpec& train = job_->spec.train;
  std::string line;
  std::optional<Checkpoint> checkpoint;
  if (run_->resumed()) checkpoint = LoadNewestCheckpoint(*run_, &line);
  if (checkpoint) {
    Say(line);
    const std::string where = run_->checkpoint_path(checkpoint->step);
    CheckIdentity(checkpoint->state, where);
    state_ = TrainState::FromJson(checkpoint->state, where);
    workers_->LoadModel(checkpoint->model, where);
    workers_->LoadOptimizer(checkpoint->optimizer, where);
    workers_->set_steps_done(state_.step);
  } else {
    workers_->Initialize();
    if (!train.start_from.empty()) {
      const LoadedModel from = mariana::LoadModel(train.start_from);
      workers_->LoadModel(from.tensors, from.path);
    }
    state_.horizon_epochs = train.schedule.horizon_epochs > 0 ? train.schedule.horizon_epochs
                                                              : static_cast<double>(train.epochs);
  }
  job_->spec.train.schedule.horizon_epochs = state_.horizon_epochs;
}

// The first value that differs says what must not change.
void Trainer::CheckIdentity(const nlohmann::json& state, const std::string& checkpoint) const {
  const std::string before = state.value("identity", "");
  if (before == identity_) return;
  summary_->keep = true;  // the run stays as it is
  throw Fail(ExitCode::kUsage, checkpoint,
             ": the config is not the one of this run: ", FirstChange(before, identity_),
             "; net, data, seed, batch, optimizer and schedule stay as they are under "
             "--resume: use another --run_dir (and train.start_from to begin with this model)");
}

}  // namespace mariana
