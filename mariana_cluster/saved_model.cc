#include "mariana_cluster/saved_model.h"

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/train/version.h"

namespace mariana {
namespace {

constexpr char kModelKey[] = "mariana.model";

}  // namespace

void SavedModel::Describe(Fields* f) {
  f->Int("seed", &seed, "Of the initial values.", Rule().Min(0));
  f->Section("rows", &rows, "From text to features.");
  f->Int("joined_columns", &joined_columns, "Dense columns joined by id.", Rule().Min(0));
  f->Section("click", &click, "Terms and sparse weights.");
  net.needed = click.has("net");
  f->Section("net", &net, "The dense part.");
}

Metadata DescribeModel(SavedModel* model) {
  return {{"format", "pt"},
          {"mariana.program", "mariana_cluster"},
          {"mariana.version", kVersion},
          {kModelKey, PrintConfig([model](Fields* f) { model->Describe(f); })}};
}

std::unique_ptr<SavedModel> ReadSavedModel(const SafetensorsFile& file) {
  const auto program = file.metadata().find("mariana.program");
  const auto found = file.metadata().find(kModelKey);
  if (program == file.metadata().end() || program->second != "mariana_cluster" ||
      found == file.metadata().end()) {
    throw Fail(ExitCode::kBadData, file.path(), ": not a model that mariana_cluster wrote");
  }
  auto model = std::make_unique<SavedModel>();
  try {
    LoadConfigText(found->second, "metadata \"mariana.model\"", ".", {},
                   [&](Fields* f) { model->Describe(f); });
  } catch (const Error& e) {
    throw Fail(ExitCode::kBadData, file.path(), ": ", e.message());
  }
  return model;
}

}  // namespace mariana
