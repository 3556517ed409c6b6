// export, inspect, document: models as files, and the program's own reference.
#include <cstdio>

#include "common/base/error.h"
#include "common/train/model_files.h"
#include "common/train/version.h"
#include "mariana_cnn/image_job.h"
#include "mariana_cnn/verbs.h"

namespace mariana {
namespace {

// "224 x 224 RGB; crop: center, resize: 256".
std::string DescribePreprocessing(ModelSpec spec) {
  std::string text = StrCat(spec.image.width, " x ", spec.image.height, " ",
                            spec.image.channels == 1 ? "grey" : "RGB", "; ");
  for (char c : PrintConfig([&spec](Fields* f) { spec.transform.Describe(f); })) {
    text += c == '\n' ? std::string(", ") : std::string(1, c);
  }
  return text.substr(0, text.find_last_not_of(", ") + 1);
}

// One value for each channel, where one stands for all.
std::vector<double> ByChannel(const std::vector<double>& values, int64_t channels) {
  return values.size() == 1 ? std::vector<double>(static_cast<size_t>(channels), values[0])
                            : values;
}

// Writes to export_path; returns the path of the model it read.
std::string ExportOnnx(const ImageJob& job) {
  const std::unique_ptr<ImageModel> model = job.Model();
  const std::unique_ptr<Device> device = job.InferenceDevice();
  const std::unique_ptr<Net> net = MakeInferenceNet(*model, device.get(), 1);
  ImageModelInfo info;
  info.program = job.command_line.program;
  info.version = kVersion;
  info.mean = ByChannel(model->spec.image.mean, model->spec.image.channels);
  info.std = ByChannel(model->spec.image.std, model->spec.image.channels);
  info.loss = model->net.loss;
  info.classes = model->spec.classes;
  info.preprocessing = DescribePreprocessing(model->spec);
  ExportImageModel(net.get(), job.spec.onnx, info, job.spec.export_path);
  return model->path;
}

}  // namespace

int ExportVerb(const CommandLine& cl) {
  const ImageJob job(cl);
  const std::string& path = job.spec.export_path;
  if (!EndsWith(path, ".onnx") && !EndsWith(path, ".safetensors")) {
    throw Fail(ExitCode::kUsage, cl.config,
               ": export_path: needed by `export`, and must end in .onnx or .safetensors, e.g. "
               "export_path=model.onnx");
  }
  const std::string from =
      EndsWith(path, ".onnx") ? ExportOnnx(job) : ExportSafetensors(job.model_path(), path);
  std::printf("%s -> %s\n", from.c_str(), path.c_str());
  return 0;
}

int InspectVerb(const CommandLine& cl) {
  PrintModel(PathArgument(cl, "a run directory, checkpoint or .safetensors"));
  return 0;
}

int DocumentVerb(const CommandLine& cl) {
  JobSpec spec;
  return DocumentJob(cl, [&spec](Fields* f) { spec.Describe(f); });
}

}  // namespace mariana
