// How a run begins: data, workers, and the values it starts or goes on with.
#include <algorithm>

#include "common/base/error.h"
#include "mariana_dnn/trainer.h"

namespace mariana {

void Trainer::OpenData() {
  const DataSpec& data = job_->spec.data;
  Say("opening data");
  auto [train, valid] = OpenForTraining(*job_);
  train_ = std::move(train);
  valid_ = std::move(valid);
  tables_ = MeasureFrames(train_.get(), data.features, job_->num_labels,
                          static_cast<int>(data.reader_threads));
  if (valid_ && !tables_.mean.empty()) valid_->SetGlobalStats(tables_.mean, tables_.scale);
  model_.feature_dim = train_->dim();
  model_.num_labels = job_->num_labels;
  model_.features = data.features;
  model_.context = data.context;
  model_.net = &job_->spec.net;
  const int64_t batch = job_->spec.train.batch_size;
  state_.steps_in_epoch = (train_->total_frames() + batch - 1) / batch;
  Say(StrCat("training set: ", train_->num_utterances(), " utterances, ", train_->total_frames(),
             " frames of ", train_->dim(), " values, ", job_->num_labels, " labels, ",
             state_.steps_in_epoch, " steps an epoch",
             valid_ ? StrCat("; held out: ", valid_->num_utterances(), " utterances, ",
                             valid_->total_frames(), " frames")
                    : std::string()));
  // Other data under the same names would be read from the wrong place.
  identity_ += StrCat("training_frames: ", train_->total_frames(), "\n");
}

void Trainer::MakeWorkers() {
  const JobSpec& spec = job_->spec;
  topology_ = ChooseTopology(spec.parallel, &topology_reason_);
  DataParallelOptions o = WorkerOptions(spec.train, spec.parallel, topology_, devices_);
  o.net = &spec.net;
  o.input = model_.input();
  o.outputs = model_.num_labels;
  o.seed = static_cast<uint64_t>(spec.seed);
  workers_ = std::make_unique<DataParallel>(o);
  workers_->EnableProfile(spec.log.profile);
  for (int w = 0; w < workers_->workers(); ++w) {
    frames_.push_back(std::make_unique<WorkerFrames>(*workers_->net(w), spec.data.context));
    scorers_.push_back(std::make_unique<FrameScorer>(workers_->net(w), spec.data.context));
  }
  Say(StrCat("net: ", workers_->net(0)->plan().parameters(), " parameters; ", devices_.size(),
             " x ", devices_[0]->info().name, "; topology ", topology_reason_));
}

void Trainer::StartOrResume() {
  TrainSpec& train = job_->spec.train;
  const auto say = [this](const std::string& line) { Say(line); };
  if (!ResumeTraining(*run_, identity_, workers_.get(), &state_, summary_, say)) {
    workers_->Initialize();
    if (!train.start_from.empty()) {
      const LoadedModel from = LoadModel(train.start_from);
      workers_->LoadModel(from.tensors, from.path);
    }
    state_.SetHorizon(train);
  }
  train.schedule.horizon_epochs = state_.horizon_epochs;
}

}  // namespace mariana
