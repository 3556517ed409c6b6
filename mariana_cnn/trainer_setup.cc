// How a run begins: data, workers, and the values it starts or goes on with.
#include <algorithm>

#include "common/base/error.h"
#include "common/train/net_values.h"
#include "mariana_cnn/trainer.h"

namespace mariana {

void Trainer::OpenData() {
  Say("opening data");
  auto [train, valid] = OpenForTraining(*job_);
  train_ = std::move(train);
  valid_ = std::move(valid);
  model_ = ModelOf(job_, *train_.images);
  const int64_t batch = job_->spec.train.batch_size;
  state_.steps_in_epoch = (train_.images->size() + batch - 1) / batch;
  Say(StrCat(
      "training set: ", train_.images->size(), " images",
      model_.classes.empty() ? std::string() : StrCat(" of ", model_.classes.size(), " classes"),
      ", ", state_.steps_in_epoch, " steps an epoch",
      valid_.images ? StrCat("; held out: ", valid_.images->size(), " images") : std::string()));
  // Other data under the same names would be read from the wrong place.
  identity_ += StrCat("training_images: ", train_.images->size(), "\n");
}

void Trainer::MakeWorkers() {
  const JobSpec& spec = job_->spec;
  topology_ = ChooseTopology(spec.parallel, &topology_reason_);
  DataParallelOptions o = WorkerOptions(spec.train, spec.parallel, topology_, devices_);
  o.net = &spec.net;
  o.input = model_.input();
  o.outputs = model_.num_outputs;
  if (!spec.has_classes()) {
    o.label = Shape{1};
    o.label_dtype = Dtype::kF32;
  }
  o.ema = spec.train.ema;
  o.seed = static_cast<uint64_t>(spec.seed);
  workers_ = std::make_unique<DataParallel>(o);
  workers_->EnableProfile(spec.log.profile);
  for (int w = 0; w < workers_->workers(); ++w) {
    scorers_.push_back(std::make_unique<ImageScorer>(workers_->net(w), spec.net.loss));
  }
  Say(StrCat("net: ", workers_->net(0)->plan().parameters(), " parameters; ", devices_.size(),
             " x ", devices_[0]->info().name, "; topology ", topology_reason_));
}

void Trainer::StartOrResume() {
  ImageTrainSpec& train = job_->spec.train;
  const auto say = [this](const std::string& line) { Say(line); };
  if (!ResumeTraining(*run_, identity_, workers_.get(), &state_, summary_, say)) {
    workers_->Initialize();
    if (!train.start_from.empty()) {
      const LoadedModel from = LoadModel(train.start_from);
      workers_->LoadModel(from.tensors, from.path);
    } else if (!train.import.file.empty()) {
      const ImportedModel imported = ImportValues(LoadModel(train.import.file), train.import,
                                                  workers_->SaveModel(), HeadOf(*workers_->net(0)));
      workers_->LoadModel(imported.tensors, train.import.file);
      Say(imported.line);
    }
    state_.SetHorizon(train);
  }
  train.schedule.horizon_epochs = state_.horizon_epochs;
}

}  // namespace mariana
