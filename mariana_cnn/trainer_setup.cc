// How a run begins: data, workers, and the values it starts or goes on with.
#include <algorithm>

#include "common/base/error.h"
#include "common/train/net_values.h"
#include "common/train/split_report.h"
#include "mariana_cnn/trainer.h"

namespace mariana {

void Trainer::OpenData() {
  run_.ranks()->set_phase("open data");
  run_.Say("opening data");
  auto [train, valid] = OpenForTraining(*job_);
  train_ = std::move(train);
  valid_ = std::move(valid);
  model_ = ModelOf(job_, *train_.images);
  run_.SetSamples(train_.images->size());
  run_.Say(StrCat(
      "training set: ", train_.images->size(), " images",
      model_.classes.empty() ? std::string() : StrCat(" of ", model_.classes.size(), " classes"),
      ", ", run_.state().steps_in_epoch, " steps an epoch",
      valid_.images ? StrCat("; held out: ", valid_.images->size(), " images") : std::string()));
}

void Trainer::MakeWorkers() {
  const JobSpec& spec = job_->spec;
  std::string why;
  const Topology topology = ChooseTopology(spec.parallel, *run_.ranks(), &why);
  DataParallelOptions o = WorkerOptions(spec.train, spec.parallel, topology, devices_);
  o.ranks = run_.ranks();
  o.net = &spec.net;
  o.input = model_.input();
  o.outputs = model_.num_outputs;
  if (!spec.has_classes()) {
    o.label = Shape{1};
    o.label_dtype = Dtype::kF32;
  }
  o.ema = spec.train.ema;
  o.seed = static_cast<uint64_t>(spec.seed);
  CheckDeviceMemory(o, spec.parallel.device_memory);
  workers_ = std::make_unique<DataParallel>(o);
  workers_->EnableProfile(spec.log.profile);
  for (int w = 0; w < o.local(); ++w) {
    scorers_.push_back(std::make_unique<ImageScorer>(workers_->net(w), spec.net.loss));
  }
  const int split = o.split.workers;
  const std::string groups =
      split > 1 ? StrCat(", ", o.groups(), " groups of ", split, " to a model") : "";
  run_.SetWorkers(workers_.get(), StrCat(devices_.size(), " x ", devices_[0]->info().name, groups),
                  why);
}

// Rank 0 reads what others made; all get it.
void Trainer::StartValues() {
  const ImageTrainSpec& train = job_->spec.train;
  if (!train.start_from.empty()) {
    const auto read = [&train] { return LoadModel(train.start_from).tensors; };
    workers_->LoadModel(TensorsFromFirst(run_.ranks(), read), train.start_from);
  } else if (!train.import.file.empty()) {
    const std::vector<HostTensor> own = workers_->SaveModel();
    const auto read = [&] {
      ImportedModel imported =
          ImportValues(LoadModel(train.import.file), train.import, own, HeadOf(workers_->plan()));
      run_.Say(imported.line);
      return std::move(imported.tensors);
    };
    workers_->LoadModel(TensorsFromFirst(run_.ranks(), read), train.import.file);
  }
}

}  // namespace mariana
