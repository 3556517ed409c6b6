#include "mariana_dnn/speech_job.h"

#include <cstdio>

#include "common/base/error.h"

namespace mariana {
namespace {

LabelInfo MakeLabelInfo(const PhoneStates& states, const std::vector<std::string>& silence) {
  LabelInfo info;
  info.phone = states.phone;
  info.silence.assign(states.phone.size(), false);
  for (int32_t phone : states.Find(silence)) {
    for (int32_t state : states.states[static_cast<size_t>(phone)]) {
      info.silence[static_cast<size_t>(state)] = true;
    }
  }
  return info;
}

}  // namespace

SpeechJob::SpeechJob(const CommandLine& cl) : command_line(cl) {
  effective = LoadConfig({cl.config, cl.overrides}, [this](Fields* f) { spec.Describe(f); });
  num_labels = spec.data.num_labels;
  if (!spec.data.states.empty()) {
    states = ReadPhoneStates(spec.data.states);
    labels = MakeLabelInfo(states, spec.data.silence_phones);
    num_labels = states.num_states();
  }
}

bool SpeechJob::has_valid() const { return !spec.data.valid.empty(); }

std::unique_ptr<SpeechCorpus> SpeechJob::Open(DataSet set, const FeatureSpec& features) const {
  const bool train = set == DataSet::kTrain;
  const UtteranceSetSpec& files = train ? spec.data.train : spec.data.valid;
  const char* name = train ? "data.train" : "data.valid";
  if (files.feats.empty() && files.wav.empty()) {
    throw Fail(ExitCode::kUsage, command_line.config, ": ", name,
               ": needs `feats` or `wav` for this");
  }
  auto corpus =
      SpeechCorpus::Open(files, features, spec.data.policy, static_cast<int32_t>(num_labels));
  for (const std::string& warning : corpus->warnings()) {
    std::fprintf(stderr, "%s: warning: %s: %s\n", command_line.program.c_str(), name,
                 warning.c_str());
  }
  return corpus;
}

std::unique_ptr<Device> SpeechJob::InferenceDevice() const {
  return mariana::InferenceDevice(command_line.device, spec.parallel);
}

std::unique_ptr<AcousticModel> SpeechJob::Model() const {
  return ReadAcousticModel(spec.model.empty() ? run_path() : spec.model);
}

FrameSets OpenForTraining(const SpeechJob& job) {
  const JobSpec& spec = job.spec;
  const std::string& config = job.command_line.config;
  if (!job.has_valid() && spec.train.schedule.type == ScheduleType::kNewbob) {
    throw Fail(ExitCode::kUsage, config,
               ": train.schedule.type: newbob follows the held-out loss: it needs data.valid");
  }
  if (!job.has_valid() && spec.train.patience > 0) {
    throw Fail(ExitCode::kUsage, config,
               ": train.patience: follows the held-out loss: it needs data.valid");
  }
  return OpenFrameSets(spec.data, job.num_labels, config + ": data", [&job](const std::string& w) {
    std::fprintf(stderr, "%s: warning: data.%s\n", job.command_line.program.c_str(), w.c_str());
  });
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
