#include "mariana_cnn/model.h"

#include "common/base/error.h"
#include "common/train/net_values.h"
#include "common/train/version.h"

namespace mariana {
namespace {

constexpr char kModelKey[] = "mariana.model";

}  // namespace

void ModelSpec::Describe(Fields* f) {
  f->Section("image", &image, "What the net sees of an image.");
  f->Section("transform", &transform, "How an image becomes that.");
  f->Int("num_outputs", &num_outputs, "Classes, or numbers.", Rule().Min(1).Required());
  f->TextList("classes", &classes, "Their names.");
  f->Section("net", net, "The network.");
}

Metadata DescribeModel(ModelSpec* spec) {
  return {{"format", "pt"},
          {"mariana.program", "mariana_cnn"},
          {"mariana.version", kVersion},
          {kModelKey, PrintConfig([spec](Fields* f) { spec->Describe(f); })}};
}

std::unique_ptr<ImageModel> ReadImageModel(const std::string& path) {
  LoadedModel loaded = LoadModel(path);
  const auto found = loaded.metadata.find(kModelKey);
  const auto program = loaded.metadata.find("mariana.program");
  if (found == loaded.metadata.end() ||
      (program != loaded.metadata.end() && program->second != "mariana_cnn")) {
    throw Fail(ExitCode::kBadData, loaded.path, ": not a model that mariana_cnn wrote",
               found == loaded.metadata.end()
                   ? StrCat(" (no metadata \"", kModelKey, "\"); train.import takes in such files")
                   : StrCat(", but one of ", program->second));
  }
  auto model = std::make_unique<ImageModel>();
  model->path = loaded.path;
  model->spec.net = &model->net;
  model->metadata = std::move(loaded.metadata);
  model->tensors = std::move(loaded.tensors);
  try {
    LoadConfigText(found->second, "metadata \"mariana.model\"", ".", {},
                   [&](Fields* f) { model->spec.Describe(f); });
  } catch (const Error& e) {
    throw Fail(ExitCode::kBadData, loaded.path, ": ", e.message());
  }
  return model;
}

std::unique_ptr<Net> MakeInferenceNet(const ImageModel& model, Device* device, int64_t max_rows,
                                      const std::string& until) {
  NetOptions options;
  options.device = device;
  options.max_rows = max_rows;
  options.input = model.spec.input();
  options.outputs = model.spec.num_outputs;
  options.until = until;
  options.train = false;
  std::unique_ptr<Net> net = Net::Build(model.net, options);
  LoadNetValues(net.get(), model.tensors, model.path);
  return net;
}

}  // namespace mariana
