#include "mariana_dnn/model.h"

#include <algorithm>
#include <map>

#include "common/base/error.h"
#include "common/train/data_parallel.h"

namespace mariana {
namespace {

// Moves tensor `name` of `size` elements out of the list; empty when it is not there.
std::vector<float> Take(const std::string& path, const char* name, int64_t size,
                        std::vector<HostTensor>* tensors) {
  for (auto it = tensors->begin(); it != tensors->end(); ++it) {
    if (it->name != name) continue;
    if (it->dtype != Dtype::kF32 || it->shape != Shape{size}) {
      throw Fail(ExitCode::kBadData, path, ": tensor \"", name, "\" should be f32 [", size,
                 "], but is ", Name(it->dtype), " ", it->shape.ToString());
    }
    std::vector<float> values(it->f32(), it->f32() + size);
    tensors->erase(it);
    return values;
  }
  return {};
}

}  // namespace

std::unique_ptr<AcousticModel> ReadAcousticModel(const std::string& path) {
  LoadedModel loaded = LoadModel(path);
  const auto found = loaded.metadata.find(FrameModel::kKey);
  if (found == loaded.metadata.end()) {
    throw Fail(ExitCode::kBadData, loaded.path, ": no metadata \"", FrameModel::kKey,
               "\": not a model that mariana_dnn wrote");
  }
  auto model = std::make_unique<AcousticModel>();
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
  const FrameModel& spec = model->spec;
  FrameTables& tables = model->tables;
  tables.mean = Take(loaded.path, FrameTables::kMean, spec.feature_dim, &model->tensors);
  tables.scale = Take(loaded.path, FrameTables::kScale, spec.feature_dim, &model->tensors);
  tables.prior = Take(loaded.path, FrameTables::kPrior, spec.num_labels, &model->tensors);
  if (spec.features.normalise == Normalisation::kGlobal &&
      (tables.mean.empty() || tables.scale.empty())) {
    throw Fail(ExitCode::kBadData, loaded.path, ": tensors \"", FrameTables::kMean, "\" and \"",
               FrameTables::kScale, "\" are needed by features.normalise: global");
  }
  return model;
}

std::unique_ptr<Net> MakeInferenceNet(const AcousticModel& model, Device* device,
                                      int64_t max_rows) {
  NetOptions options;
  options.device = device;
  options.max_rows = max_rows;
  options.input = model.spec.input();
  options.outputs = model.spec.num_labels;
  options.train = false;
  std::unique_ptr<Net> net = Net::Build(model.net, options);
  LoadNetValues(net.get(), model.tensors, model.path);
  return net;
}

}  // namespace mariana
