// features: the activations of a layer for each image, with the images' ids.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/model_files.h"
#include "common/train/progress.h"
#include "common/train/signals.h"
#include "mariana_cnn/image_job.h"
#include "mariana_cnn/scores.h"
#include "mariana_cnn/verbs.h"

namespace mariana {
namespace {

// What was computed, image after image.
struct Activations {
  Shape sample;  // as the net has it: [height, width, channels] of an image
  std::vector<std::string> ids;
  std::vector<float> values;
  Shape shape() const {
    std::vector<int64_t> dims{static_cast<int64_t>(ids.size())};
    dims.insert(dims.end(), sample.dims().begin(), sample.dims().end());
    return Shape(dims);
  }
};

// "(3, 7, 7, 512)", "(3,)".
std::string PythonTuple(const Shape& shape) {
  std::string text = "(";
  for (int64_t d : shape.dims()) text += std::to_string(d) + ", ";
  text.resize(text.size() - (shape.dims().size() > 1 ? 2 : 1));
  return text + ")";
}

// numpy's format 1.0 (numpy.lib.format).
void WriteNpy(const std::string& path, const Activations& a) {
  std::string header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': " + PythonTuple(a.shape()) + ", }";
  constexpr size_t kBefore = 10, kAlign = 64;
  header.append(kAlign - (kBefore + header.size() + 1) % kAlign, ' ');
  header += '\n';
  FileWriter file(path);
  file.Append("\x93NUMPY\x01\x00", 8);
  const char size[2] = {static_cast<char>(header.size() & 0xff),
                        static_cast<char>(header.size() >> 8)};
  file.Append(size, 2);
  file.Append(header.data(), header.size());
  file.Append(a.values.data(), a.values.size() * sizeof(float));
  file.Finish();
  std::string ids;
  for (const std::string& id : a.ids) ids += id + "\n";
  WriteFileAtomic(path.substr(0, path.size() - 4) + ".txt", ids);
}

void WriteTensor(const std::string& path, const std::string& layer, const Activations& a) {
  const auto ids =
      nlohmann::json(a.ids).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  FileWriter file(path);
  WriteSafetensors(&file, {HostTensor::F32(layer, a.shape(), a.values.data())}, {{"images", ids}});
  file.Finish();
}

void CheckSpec(const ImageJob& job) {
  const FeaturesSpec& spec = job.spec.features;
  const std::string& config = job.command_line.config;
  if (spec.layer.empty()) {
    throw Fail(ExitCode::kUsage, config,
               ": features.layer: needed by `features`, e.g. features.layer=avgpool "
               "(mariana_cnn --check names the layers)");
  }
  if (!EndsWith(spec.path, ".npy") && !EndsWith(spec.path, ".safetensors")) {
    throw Fail(
        ExitCode::kUsage, config,
        ": features.path: ", spec.path.empty() ? "needed by `features`" : spec.path + ": must end",
        spec.path.empty() ? ", e.g. features.path=features.npy" : " in .safetensors or .npy");
  }
}

}  // namespace

int FeaturesVerb(const CommandLine& cl) {
  const ImageJob job(cl);
  CheckSpec(job);
  const FeaturesSpec& spec = job.spec.features;
  const InferenceJob in = OpenForInference(job, Labels::kIgnored);
  const auto net = MakeInferenceNet(*in.model, in.device.get(), kInferenceRows, spec.layer);
  Activations out;
  out.sample = net->output_shape();
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("features", in.set.images->size(), "images");
  ImageStream stream(in.set.images.get(), in.stream);
  ImageBatch batch;
  while (!StopRequested() && stream.Next(&batch)) {
    ForwardImages(net.get(), batch, &out.values);
    for (int64_t image : batch.image) out.ids.push_back(in.set.images->id(image));
    progress.Update(static_cast<int64_t>(out.ids.size()), {});
  }
  progress.End();
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);
  if (EndsWith(spec.path, ".npy")) {
    WriteNpy(spec.path, out);
  } else {
    WriteTensor(spec.path, spec.layer, out);
  }
  std::printf("%s %s -> %s\n", spec.layer.c_str(), out.shape().ToString().c_str(),
              spec.path.c_str());
  return 0;
}

}  // namespace mariana
