// train --check: opens the data, reads one batch, builds the net, and prints the plan.
#include <cstdio>

#include "common/base/error.h"
#include "common/train/data_parallel.h"
#include "mariana_dnn/speech_job.h"
#include "mariana_dnn/verbs.h"

namespace mariana {
namespace {

void PrintLayers(const NetPlan& net, int workers) {
  std::printf("%-28s %-22s %-14s %12s %12s %12s\n", "layer", "type", "output", "parameters",
              "MFLOP", "memory MB");
  double parameters = 0, flops = 0, bytes = 0;
  for (const OpInfo& op : net.ops) {
    std::printf("%-28s %-22s %-14s %12lld %12.3f %12.2f\n", op.name.c_str(), op.type.c_str(),
                op.output.ToString().c_str(), static_cast<long long>(op.parameters), op.flops / 1e6,
                static_cast<double>(op.activation_bytes) / 1e6);
    parameters += static_cast<double>(op.parameters);
    flops += op.flops;
    bytes += static_cast<double>(op.activation_bytes);
  }
  std::printf("%-28s %-22s %-14s %12.0f %12.3f %12.2f\n", "total", "", "", parameters, flops / 1e6,
              bytes / 1e6);
  std::printf(
      "(MFLOP: forward, one sample; a training step needs about 3 times that. Memory: "
      "activations of one worker, beside parameters and gradients.)\n"
      "placement: every layer on each of %d worker%s\n",
      workers, workers == 1 ? "" : "s");
}

void PrintExchange(const NetPlan& net, Topology topology, const std::string& why, int n,
                   const OptimizerSpec& optimizer) {
  const auto mega = [](int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  const int64_t arena = net.arena_elements * int64_t{sizeof(float)};
  std::printf("memory of a worker: values %.1f MB, gradients %.1f MB, optimizer state %.1f MB\n",
              mega(arena), mega(arena), mega(arena * OptimizerSlots(optimizer) / n));
  std::printf("topology: %s\n", why.c_str());
  const std::vector<Range> whole{{0, net.arena_elements}};
  for (int from = 0; from < n; ++from) {
    for (int to = 0; to < n; ++to) {
      const LinkBytes bytes = ExpectedTraffic(topology, n, whole, from, to);
      if (bytes.collect + bytes.distribute == 0) continue;
      std::printf("  worker %d -> %d: %.1f MB collect + %.1f MB distribute a step\n", from, to,
                  mega(bytes.collect), mega(bytes.distribute));
    }
  }
}

}  // namespace

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

  const auto devices = MakeDevices(cl.device, spec.parallel, spec.train.precision);
  std::string why;
  const Topology topology = ChooseTopology(spec.parallel, &why);
  ModelSpec model;
  model.feature_dim = train->dim();
  model.context = spec.data.context;
  const int n = static_cast<int>(devices.size());
  NetOptions options;
  options.device = devices[0].get();
  options.max_rows = DealOut(spec.train.batch_size, 1, n)[0].rows;
  options.input = model.input();
  options.outputs = job.num_labels;
  options.compute = spec.train.precision == Precision::kBf16 ? Dtype::kBF16 : Dtype::kF32;
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
  std::printf("devices: %d x %s\n\n", n, devices[0]->info().name.c_str());
  PrintLayers(net, n);
  PrintExchange(net, topology, why, n, spec.train.optimizer);
  std::printf("ok\n");
  return 0;
}

}  // namespace mariana
