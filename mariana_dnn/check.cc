// train --check: opens the data, reads one batch, builds the net, and prints the plan.
#include <cstdio>

#include "common/base/error.h"
#include "common/train/data_parallel.h"
#include "common/train/train_plan.h"
#include "mariana_dnn/speech_job.h"
#include "mariana_dnn/verbs.h"

namespace mariana {

int CheckJob(const CommandLine& cl) {
  SpeechJob job(cl);
  JobSpec& spec = job.spec;
  const auto [train, valid] = OpenForTraining(job);
  Matrix frames;
  std::vector<int32_t> labels;
  if (spec.data.features.normalise == Normalisation::kGlobal) {
    frames = train->LoadRaw(0);  // statistics need the whole set, which takes too long here
  } else {
    train->Load(0, &frames, &labels);
  }

  job.spec.parallel.ShareOut(cl.ranks->size());
  const auto devices = MakeDevices(cl.device, spec.parallel, spec.train.precision, cl.ranks);
  std::string why;
  const Topology topology = ChooseTopology(spec.parallel, *cl.ranks, &why);
  FrameModel model;
  model.feature_dim = train->dim();
  model.context = spec.data.context;
  const int n = static_cast<int>(devices.size()) * cl.ranks->size();
  NetOptions options;
  options.device = devices[0].get();
  options.max_rows = RowsAtATime(spec.train, n);
  options.input = model.input();
  options.outputs = job.num_labels;
  options.compute = spec.train.compute();
  const NetPlan net = PlanNet(spec.net, options);

  std::printf("%s: %s\n", cl.config.c_str(), spec.name.c_str());
  const auto print_set = [](const char* name, const SpeechCorpus& corpus) {
    std::printf("%s: %d utterances, %lld frames of %d values\n", name, corpus.num_utterances(),
                static_cast<long long>(corpus.total_frames()), corpus.dim());
  };
  print_set("data.train", *train);
  if (valid) print_set("data.valid", *valid);
  const int64_t batch = spec.train.batch_size;
  std::printf("labels: %lld; steps an epoch: %lld of %lld samples\n",
              static_cast<long long>(job.num_labels),
              static_cast<long long>((train->total_frames() + batch - 1) / batch),
              static_cast<long long>(batch));
  PrintDevices(devices, *cl.ranks);
  PrintLayers(net, n);
  PrintExchange(net, WireUp(topology, static_cast<int>(devices.size()), *cl.ranks), why,
                spec.parallel, cl.ranks->world(), spec.train.optimizer);
  std::printf("ok\n");
  return 0;
}

}  // namespace mariana
