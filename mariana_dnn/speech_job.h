// SpeechJob: a config with its data opened: what train, --check and the other verbs start from.
// Const methods are thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/train_run.h"
#include "mariana_dnn/job.h"
#include "mariana_dnn/model.h"
#include "mariana_dnn/phones.h"
#include "mariana_dnn/scores.h"

namespace mariana {

class SpeechJob {
 public:
  // Reads --config and its overrides. Opens no data yet.
  explicit SpeechJob(const CommandLine& command_line);

  const CommandLine& command_line;
  JobSpec spec;
  EffectiveConfig effective;
  PhoneStates states;  // empty without a states file
  LabelInfo labels;    // likewise
  int64_t num_labels = 0;

  // runs/<name>, or --run_dir.
  std::string run_path() const { return RunPath(command_line, spec.name); }
  // The corpus of one set under `features`; its warnings go to stderr. Throws Error(kUsage) when
  // the config does not give the set.
  std::unique_ptr<SpeechCorpus> Open(DataSet set, const FeatureSpec& features) const;
  bool has_valid() const;
  // The one device, with all its threads, that the verbs besides train compute on.
  std::unique_ptr<Device> InferenceDevice() const;
  // The model that `model:` or the run directory names.
  std::unique_ptr<AcousticModel> Model() const;
};

// What train needs.
FrameSets OpenForTraining(const SpeechJob& job);

// Opens `set` as `model` needs it: its features, its normalisation; throws Error(kBadData) when
// dimensions or labels do not fit.
std::unique_ptr<SpeechCorpus> OpenFor(const SpeechJob& job, const AcousticModel& model,
                                      DataSet set);

}  // namespace mariana
