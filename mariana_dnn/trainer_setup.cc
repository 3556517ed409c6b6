// How a run begins: data, workers, and the values it starts or goes on with.
#include <algorithm>

#include "common/base/error.h"
#include "mariana_dnn/trainer.h"

namespace mariana {

void Trainer::OpenData() {
  const DataSpec& data = job_->spec.data;
  run_.ranks()->set_phase("open data");
  run_.Say("opening data");
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
  run_.SetSamples(train_->total_frames());
  run_.Say(StrCat("training set: ", train_->num_utterances(), " utterances, ",
                  train_->total_frames(), " frames of ", train_->dim(), " values, ",
                  job_->num_labels, " labels, ", run_.state().steps_in_epoch, " steps an epoch",
                  valid_ ? StrCat("; held out: ", valid_->num_utterances(), " utterances, ",
                                  valid_->total_frames(), " frames")
                         : std::string()));
}

void Trainer::MakeWorkers() {
  const JobSpec& spec = job_->spec;
  std::string why;
  const Topology topology = ChooseTopology(spec.parallel, *run_.ranks(), &why);
  DataParallelOptions o = WorkerOptions(spec.train, spec.parallel, topology, devices_);
  o.ranks = run_.ranks();
  o.net = &spec.net;
  o.input = model_.input();
  o.outputs = model_.num_labels;
  o.seed = static_cast<uint64_t>(spec.seed);
  workers_ = std::make_unique<DataParallel>(o);
  workers_->EnableProfile(spec.log.profile);
  for (int w = 0; w < o.local(); ++w) {
    frames_.push_back(std::make_unique<WorkerFrames>(*workers_->net(w), spec.data.context));
    scorers_.push_back(std::make_unique<FrameScorer>(workers_->net(w), spec.data.context));
  }
  run_.SetWorkers(workers_.get(), StrCat(devices_.size(), " x ", devices_[0]->info().name), why);
}

void Trainer::StartValues() {
  const std::string& from = job_->spec.train.start_from;
  if (from.empty()) return;
  workers_->LoadModel(TensorsFromFirst(run_.ranks(), [&from] { return LoadModel(from).tensors; }),
                      from);
}

}  // namespace mariana
