// train --check: opens the data, makes one batch, plans the net, and prints the plan.
#include <cstdio>

#include "common/base/error.h"
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
void MakeOneBatch(const ImageJob& job, const ImageSource& images) {
  ImageStreamOptions options = job.StreamOptions(DataSet::kTrain);
  options.transform = job.spec.data.train_transform;
  options.batch_size = std::min(job.spec.train.batch_size, images.size());
  options.prefetch = 1;
  ImageStream stream(&images, options);
  ImageBatch batch;
  if (!stream.Next(&batch)) throw Fail(ExitCode::kBadData, "data.train: no image can be read");
}

}  // namespace

int CheckJob(const CommandLine& cl) {
  ImageJob job(cl);
  const JobSpec& spec = job.spec;
  const auto [train, valid] = OpenForTraining(job);
  const ModelSpec model = ModelOf(&job, *train);
  const auto test = spec.data.test.empty() ? nullptr : job.Open(DataSet::kTest, &model.classes);
  MakeOneBatch(job, *train);

  const auto devices = MakeDevices(cl.device, spec.parallel, spec.train.precision);
  const int n = static_cast<int>(devices.size());
  std::string why;
  const Topology topology = ChooseTopology(spec.parallel, &why);
  NetOptions options;
  options.device = devices[0].get();
  options.max_rows = DealOut(spec.train.batch_size, 1, n)[0].rows;
  options.input = model.input();
  options.outputs = model.num_outputs;
  options.compute = spec.train.compute();
  const NetPlan net = PlanNet(spec.net, options);

  std::printf("%s: %s\n", cl.config.c_str(), spec.name.c_str());
  PrintSet("data.train", *train);
  if (valid) PrintSet("data.valid", *valid);
  if (test) PrintSet("data.test", *test);
  const int64_t batch = spec.train.batch_size;
  std::printf("outputs: %lld; steps an epoch: %lld of %lld samples\n",
              static_cast<long long>(model.num_outputs),
              static_cast<long long>((train->size() + batch - 1) / batch),
              static_cast<long long>(batch));
  std::printf("devices: %d x %s\n\n", n, devices[0]->info().name.c_str());
  PrintLayers(net, n);
  PrintExchange(net, topology, why, n, spec.train.optimizer);
  std::printf("ok\n");
  return 0;
}

}  // namespace mariana
