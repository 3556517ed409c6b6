// train --check: opens the data, makes one batch, plans the net, and prints the plan.
#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/split_report.h"
#include "common/train/train_plan.h"
#include "mariana_cnn/image_job.h"
#include "mariana_cnn/verbs.h"

namespace mariana {
namespace {

void PrintSet(const char* name, const ImageSource& images) {
  std::printf("%s: %lld images", name, static_cast<long long>(images.size()));
  if (!images.classes().empty()) std::printf(" of %zu classes", images.classes().size());
  std::printf("\n");
}

// As training would make it, but for order.
void MakeOneBatch(const ImageJob& job, const OpenedImages& set) {
  const DataSpec& data = job.spec.data;
  ImageStreamOptions options =
      job.StreamOptions(set, data.input, data.train_transform, job.spec.train.compute());
  options.batch_size = std::min(job.spec.train.batch_size, set.images->size());
  options.prefetch = 1;
  options.seed = static_cast<uint64_t>(job.spec.seed);
  ImageStream stream(set.images.get(), options);
  ImageBatch batch;
  if (!stream.Next(&batch)) {
    throw Fail(ExitCode::kBadData, "data.train: no image can be read");
  }
}

}  // namespace

int CheckJob(const CommandLine& cl) {
  ImageJob job(cl);
  const JobSpec& spec = job.spec;
  const auto [train, valid] = OpenForTraining(job);
  const ModelSpec model = ModelOf(&job, *train.images);
  const OpenedImages test =
      spec.data.test.empty() ? OpenedImages() : job.Open(DataSet::kTest, &model.classes);
  MakeOneBatch(job, train);

  job.spec.parallel.ShareOut(cl.ranks->size());
  const auto devices = MakeDevices(cl.device, spec.parallel, spec.train.precision, cl.ranks);
  const int n = static_cast<int>(devices.size()) * cl.ranks->size();
  std::string why;
  const Topology topology = ChooseTopology(spec.parallel, *cl.ranks, &why);
  NetOptions options;
  options.device = devices[0].get();
  options.max_rows = RowsAtATime(spec.train, n / static_cast<int>(spec.parallel.split));
  options.input = model.input();
  options.outputs = model.num_outputs;
  options.compute = spec.train.compute();
  const NetPlan net = PlanNet(spec.net, options);

  std::printf("%s: %s\n", cl.config.c_str(), spec.name.c_str());
  PrintSet("data.train", *train.images);
  if (valid.images) PrintSet("data.valid", *valid.images);
  if (test.images) PrintSet("data.test", *test.images);
  const int64_t batch = spec.train.batch_size;
  std::printf("outputs: %lld; steps an epoch: %lld of %lld samples\n",
              static_cast<long long>(model.num_outputs),
              static_cast<long long>((train.images->size() + batch - 1) / batch),
              static_cast<long long>(batch));
  PrintDevices(devices, *cl.ranks);
  PrintLayers(net, n);
  if (spec.parallel.split > 1 || spec.parallel.device_memory > 0) {
    DataParallelOptions workers = WorkerOptions(spec.train, spec.parallel, topology, devices);
    workers.ranks = cl.ranks;
    workers.net = &spec.net;
    workers.input = model.input();
    workers.outputs = model.num_outputs;
    workers.ema = spec.train.ema;
    PrintSplit(workers);
    CheckDeviceMemory(workers, spec.parallel.device_memory);
  }
  if (spec.parallel.split == 1) {
    PrintExchange(net, WireUp(topology, static_cast<int>(devices.size()), *cl.ranks), why,
                  spec.parallel, cl.ranks->world(), spec.train.optimizer);
  }
  std::printf("ok\n");
  return 0;
}

}  // namespace mariana
