#include "common/train/frame_data.h"

#include "common/base/error.h"

namespace mariana {

void ContextSpec::Describe(Fields* f) {
  f->Int("left", &left, "Frames before the labelled one; edges repeat.", Rule().Min(0).Max(100));
  f->Int("right", &right, "Frames after it.", Rule().Min(0).Max(100));
}

void FrameDataSpec::Describe(Fields* f) {
  f->Section("train", &train, "The utterances to learn from.");
  f->Section("valid", &valid,
             "Held-out utterances: evaluated after each epoch, and by the other verbs.");
  f->Section("features", &features, "From sound or stored features to the net's input frames.");
  f->Section("context", &context, "Frames joined into one input.");
  f->Int("num_labels", &num_labels, "Number of labels.", Rule().Min(0).Max(10000000));
  f->Int("block_frames", &block_frames,
         "Frames shuffled together: the bound on memory, about 4 bytes x dimension x 3 each.",
         Rule().Min(1));
  f->Int("reader_threads", &reader_threads, "Threads that read and decode utterances.",
         Rule().Min(1).Max(256));
  policy.Describe(f);
  for (const UtteranceSetSpec* set : {&train, &valid}) {
    f->Require(set->cmvn.empty() || features.normalise == Normalisation::kSpeaker ||
                   features.normalise == Normalisation::kUtterance,
               "features", "`cmvn` needs normalise: speaker or utterance");
    f->Require(
        features.normalise != Normalisation::kSpeaker || !set->utt2spk.empty() || set->empty(),
        "features", "normalise: speaker needs `utt2spk` in each set");
  }
}

void FrameDataIdentity::Describe(Fields* f) {
  f->Section("train", &data->train, "");
  f->Section("features", &data->features, "");
  f->Section("context", &data->context, "");
  f->Int("num_labels", &data->num_labels, "");
  f->Int("block_frames", &data->block_frames, "");
  f->Int("frame_tolerance", &data->policy.frame_tolerance, "");
}

FrameSets OpenFrameSets(const FrameDataSpec& spec, int64_t num_labels, const std::string& where,
                        const std::function<void(const std::string&)>& warn) {
  const auto open = [&](const UtteranceSetSpec& files, const char* name, const char* what_for) {
    auto corpus =
        SpeechCorpus::Open(files, spec.features, spec.policy, static_cast<int32_t>(num_labels));
    for (const std::string& w : corpus->warnings()) warn(StrCat(name, ": ", w));
    if (!corpus->has_labels()) {
      throw Fail(ExitCode::kUsage, where, ".", name, ".alignments: needed ", what_for);
    }
    return corpus;
  };
  if (spec.train.empty()) {
    throw Fail(ExitCode::kUsage, where, ".train: needs `feats` or `wav` for this");
  }
  FrameSets sets;
  sets.train = open(spec.train, "train", "for training");
  if (spec.valid.empty()) return sets;
  sets.valid = open(spec.valid, "valid", "to evaluate after each epoch");
  if (sets.valid->dim() != sets.train->dim()) {
    throw Fail(ExitCode::kBadData, where, ".valid: frames of ", sets.valid->dim(),
               " values, those of the training set have ", sets.train->dim());
  }
  return sets;
}

}  // namespace mariana
