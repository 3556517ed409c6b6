#include "common/train/frame_model.h"

#include "common/config/config.h"
#include "common/train/version.h"

namespace mariana {
namespace {

HostTensor Vector(const char* name, const std::vector<float>& values) {
  return HostTensor::F32(name, {static_cast<int64_t>(values.size())}, values.data());
}

}  // namespace

void FrameModel::Describe(Fields* f) {
  f->Int("feature_dim", &feature_dim, "Columns of one frame.", Rule().Min(1).Required());
  f->Int("num_labels", &num_labels, "Classes.", Rule().Min(1).Required());
  f->Section("features", &features, "From sound or stored features to frames.");
  f->Section("context", &context, "Frames joined into one input.");
  f->Section("net", net, "The network.");
}

FrameTables MeasureFrames(SpeechCorpus* train, const FeatureSpec& features, int64_t num_labels,
                          int threads) {
  FrameTables tables;
  if (features.normalise == Normalisation::kGlobal) {
    train->ComputeGlobalStats(&tables.mean, &tables.scale, threads);
    train->SetGlobalStats(tables.mean, tables.scale);
  }
  std::vector<int64_t> counts(static_cast<size_t>(num_labels), 0);
  for (int u = 0; u < train->num_utterances(); ++u) {
    for (int32_t label : train->labels(u)) ++counts[static_cast<size_t>(label)];
  }
  for (int64_t n : counts) {
    tables.prior.push_back(
        static_cast<float>(static_cast<double>(n) / static_cast<double>(train->total_frames())));
  }
  return tables;
}

Metadata DescribeModel(const char* program, FrameModel* spec) {
  return {{"format", "pt"},
          {"mariana.program", program},
          {"mariana.version", kVersion},
          {FrameModel::kKey, PrintConfig([spec](Fields* f) { spec->Describe(f); })}};
}

std::vector<HostTensor> TablesToTensors(const FrameTables& tables) {
  std::vector<HostTensor> out;
  if (!tables.mean.empty()) {
    out.push_back(Vector(FrameTables::kMean, tables.mean));
    out.push_back(Vector(FrameTables::kScale, tables.scale));
  }
  out.push_back(Vector(FrameTables::kPrior, tables.prior));
  return out;
}

}  // namespace mariana
