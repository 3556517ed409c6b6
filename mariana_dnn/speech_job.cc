#include "mariana_dnn/speech_job.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "mariana_dnn/decode.h"

namespace mariana {
namespace {

LabelInfo ReadLabelInfo(const DataSpec& data) {
  LabelInfo info;
  for (const State& state : ReadStates(data.states)) {
    const auto found = std::find(info.phone_names.begin(), info.phone_names.end(), state.phone);
    info.phone.push_back(static_cast<int32_t>(found - info.phone_names.begin()));
    if (found == info.phone_names.end()) info.phone_names.push_back(state.phone);
    info.silence.push_back(std::find(data.silence_phones.begin(), data.silence_phones.end(),
                                     state.phone) != data.silence_phones.end());
  }
  for (const std::string& phone : data.silence_phones) {
    if (std::find(info.phone_names.begin(), info.phone_names.end(), phone) !=
        info.phone_names.end()) {
      continue;
    }
    const std::string near = DidYouMean(phone, info.phone_names);
    throw Fail(ExitCode::kUsage, "data.silence_phones: ", data.states, " has no phone \"", phone,
               "\"", near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
  return info;
}

}  // namespace

SpeechJob::SpeechJob(const CommandLine& cl) : command_line(cl) {
  effective = LoadConfig({cl.config, cl.overrides}, [this](Fields* f) { spec.Describe(f); });
  num_labels = spec.data.num_labels;
  if (!spec.data.states.empty()) {
    labels = ReadLabelInfo(spec.data);
    num_labels = static_cast<int64_t>(labels.phone.size());
  }
}

std::string SpeechJob::run_path() const {
  return command_line.run_dir.empty() ? "runs/" + spec.name : command_line.run_dir;
}

bool SpeechJob::has_valid() const {
  return !spec.data.valid.feats.empty() || !spec.data.valid.wav.empty();
}

std::unique_ptr<SpeechCorpus> SpeechJob::Open(DataSet set, const FeatureSpec& features) const {
  const bool train = set == DataSet::kTrain;
  const UtteranceSetSpec& files = train ? spec.data.train : spec.data.valid;
  const char* name = train ? "data.train" : "data.valid";
  if (files.feats.empty() && files.wav.empty()) {
    throw Fail(ExitCode::kUsage, command_line.config, ": ", name,
               ": needs `feats` or `wav` for this");
  }
  auto corpus = SpeechCorpus::Open(files, features, spec.data.policy,
                                   static_cast<int32_t>(num_labels));
  for (const std::string& warning : corpus->warnings()) {
    std::fprintf(stderr, "%s: warning: %s: %s\n", command_line.program.c_str(), name,
                 warning.c_str());
  }
  return corpus;
}

std::unique_ptr<AcousticModel> SpeechJob::Model() const {
  return ReadAcousticModel(spec.model.empty() ? run_path() : spec.model);
}

std::unique_ptr<SpeechCorpus> OpenFor(const SpeechJob& job, const AcousticModel& model,
                                      DataSet set) {
  if (job.num_labels != model.spec.num_labels) {
    throw Fail(ExitCode::kBadData, model.path, ": the model has ", model.spec.num_labels,
               " labels, the config's data ", job.num_labels);
  }
  auto corpus = job.Open(set, model.spec.features);
  if (corpus->dim() != model.spec.feature_dim) {
    throw Fail(ExitCode::kBadData, model.path, ": the model takes frames of ",
               model.spec.feature_dim, " values, the data's have ", corpus->dim());
  }
  if (!model.tables.mean.empty()) corpus->SetGlobalStats(model.tables.mean, model.tables.scale);
  return corpus;
}

}  // namespace mariana
