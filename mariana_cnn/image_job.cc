#include "mariana_cnn/image_job.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"

namespace mariana {

ImageJob::ImageJob(const CommandLine& cl) : command_line(cl) {
  effective = LoadConfig({cl.config, cl.overrides}, [this](Fields* f) { spec.Describe(f); });
}

OpenedImages ImageJob::Open(DataSet set, const std::vector<std::string>* classes) const {
  const ImageSetSpec& files = spec.data.set(set);
  const std::string name = StrCat("data.", NameOf(set));
  if (files.empty()) {
    throw Fail(ExitCode::kUsage, command_line.config, ": ", name, ": needs `path` for this");
  }
  OpenImagesOptions options;
  options.classes = classes && !classes->empty() ? classes : nullptr;
  options.index_folder = spec.data.index_folder;
  ImageSet opened = OpenImages(files, options);
  const auto warn =
      [start = StrCat(command_line.program, ": warning: ", name, ": ")](const std::string& line) {
        std::fputs((start + line + "\n").c_str(), stderr);
      };
  for (const std::string& warning : opened.warnings) warn(warning);
  OpenedImages out;
  out.images = std::move(opened.images);
  out.left_out = opened.bad;
  out.broken =
      std::make_unique<BrokenImages>(*out.images, files.max_bad_fraction, warn, opened.bad);
  return out;
}

std::unique_ptr<Device> ImageJob::InferenceDevice() const {
  return mariana::InferenceDevice(command_line.device, spec.parallel);
}

ImageStreamOptions ImageJob::StreamOptions(const OpenedImages& set, const ImageInputSpec& input,
                                           const TransformSpec& transform, Dtype dtype) const {
  ImageStreamOptions options;
  options.input = input;
  options.transform = transform;
  options.dtype = dtype;
  options.broken = set.broken.get();
  options.shuffle = false;
  options.io_threads = static_cast<int>(spec.data.io_threads);
  options.cpu_threads =
      spec.data.cpu_threads > 0 ? static_cast<int>(spec.data.cpu_threads) : AvailableCores();
  return options;
}

TrainingData OpenForTraining(const ImageJob& job) {
  const JobSpec& spec = job.spec;
  if (spec.data.valid.empty()) {
    const char* key = spec.train.schedule.type == ScheduleType::kNewbob ? "schedule.type: newbob"
                      : spec.train.patience > 0                         ? "patience:"
                                                                        : nullptr;
    if (key) {
      throw Fail(ExitCode::kUsage, job.command_line.config, ": train.", key,
                 " follows the held-out loss: it needs data.valid");
    }
  }
  TrainingData data;
  data.train = job.Open(DataSet::kTrain, nullptr);
  if (!spec.data.valid.empty()) {
    data.valid = job.Open(DataSet::kValid, &data.train.images->classes());
  }
  return data;
}

ModelSpec ModelOf(ImageJob* job, const ImageSource& train) {
  ModelSpec model;
  model.image = job->spec.data.input;
  model.transform = job->spec.data.valid_transform;
  model.classes = train.classes();
  model.num_outputs = std::max<int64_t>(1, static_cast<int64_t>(train.classes().size()));
  model.net = &job->spec.net;
  return model;
}

InferenceJob OpenForInference(const ImageJob& job, Labels labels) {
  InferenceJob out;
  out.device = job.InferenceDevice();
  out.model = job.Model();
  const ModelSpec& model = out.model->spec;
  if (model.classes.empty() == job.spec.has_classes()) {
    throw Fail(ExitCode::kUsage, out.model->path, ": a model of ",
               model.classes.empty() ? "numbers" : "classes",
               ", while the config's net.loss is of ",
               job.spec.has_classes() ? "classes" : "numbers");
  }
  out.set = job.Open(job.spec.set, labels == Labels::kNeeded ? &model.classes : nullptr);
  out.stream = job.StreamOptions(out.set, model.image, model.transform, Dtype::kF32);
  out.stream.batch_size = kInferenceRows;
  return out;
}

}  // namespace mariana
