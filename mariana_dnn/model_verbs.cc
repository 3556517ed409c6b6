// export, inspect: models as files.
#include <cstdio>

#include "common/base/error.h"
#include "common/train/model_files.h"
#include "mariana_dnn/evaluate.h"
#include "mariana_dnn/onnx_model.h"
#include "mariana_dnn/verbs.h"

namespace mariana {
namespace {

// Writes to export_path; returns the path of the model it read.
std::string ExportOnnx(const SpeechJob& job) {
  const std::unique_ptr<AcousticModel> model = job.Model();
  const std::unique_ptr<Device> device = job.InferenceDevice();
  const std::unique_ptr<Net> net = MakeInferenceNet(*model, device.get(), 1);
  ExportAcousticModel(*model, job.spec.output.kind, net.get(), job.spec.export_path);
  return model->path;
}

void InspectArchive(const std::string& path) {
  ArkReader reader(path);
  int64_t utterances = 0, rows = 0;
  while (reader.NextKey()) {
    const Matrix m = reader.ReadMatrix();
    if (utterances < 10) {
      std::printf("  %-40s [%d, %d]\n", reader.key().c_str(), m.rows, m.cols);
    }
    ++utterances;
    rows += m.rows;
  }
  std::printf("%s: %lld matrices, %lld rows\n", path.c_str(), static_cast<long long>(utterances),
              static_cast<long long>(rows));
}

void InspectScp(const std::string& path) {
  int64_t rows = 0;
  const std::vector<ScpEntry> entries = ReadScp(path);
  for (size_t i = 0; i < entries.size(); ++i) {
    const MatrixSize size = ReadMatrixSize(entries[i]);
    if (i < 10) std::printf("  %-40s [%d, %d]\n", entries[i].key.c_str(), size.rows, size.cols);
    rows += size.rows;
  }
  std::printf("%s: %zu matrices, %lld rows\n", path.c_str(), entries.size(),
              static_cast<long long>(rows));
}

}  // namespace

int ExportVerb(const CommandLine& cl) {
  const SpeechJob job(cl);
  const std::string& path = job.spec.export_path;
  if (path.empty()) {
    throw Fail(ExitCode::kUsage, cl.config,
               ": export_path: needed by `export`, e.g. export_path=model.safetensors");
  }
  const std::string from =
      EndsWith(path, ".onnx")
          ? ExportOnnx(job)
          : ExportSafetensors(job.spec.model.empty() ? job.run_path() : job.spec.model, path);
  std::printf("%s -> %s\n", from.c_str(), path.c_str());
  return 0;
}

int InspectVerb(const CommandLine& cl) {
  const std::string path =
      PathArgument(cl, "a run directory, checkpoint, .safetensors, .scp or .ark");
  if (EndsWith(path, ".scp")) {
    InspectScp(path);
  } else if (EndsWith(path, ".ark") || EndsWith(path, ".ark.gz")) {
    InspectArchive(path);
  } else {
    PrintModel(path);
  }
  return 0;
}

}  // namespace mariana
