// SpeechCorpus: a Kaldi-style set of utterances: features (an scp, or wav files and filter banks),
// frame labels (alignments), speakers, normalisation. Opening it finds bad utterances, from
// headers alone where it can; features are read on demand, so data larger than memory streams.
//
// Threading: const methods are thread-safe; SetGlobalStats comes before them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/config/fields.h"
#include "common/data/fbank.h"
#include "common/data/kaldi.h"
#include "common/data/moments.h"
#include "common/data/utterance_source.h"

namespace mariana {

enum class Normalisation { kNone, kGlobal, kSpeaker, kUtterance };

// One set of utterances: `data.train:`, `data.valid:`.
struct UtteranceSetSpec {
  std::string feats;       // scp of feature matrices, or ...
  std::string wav;         // ... scp of audio files, with FeatureSpec::fbank
  std::string alignments;  // ark, text or scp of integer vectors; may be empty
  std::string utt2spk;     // may be empty
  std::string cmvn;        // scp of Kaldi's CMVN statistics by speaker (or utterance)
  bool empty() const { return feats.empty() && wav.empty(); }  // a set that was not given
  void Describe(Fields* f);
};

// From what is stored to what a net sees; belongs to a model.
struct FeatureSpec {
  FbankSpec fbank;
  Normalisation normalise = Normalisation::kGlobal;
  bool normalise_variance = true;  // false: only the mean is removed
  void Describe(Fields* f);
};

// How much to put up with in a set.
struct ReadPolicy {
  int64_t frame_tolerance = 0;          // features and labels may differ by so many frames
  bool allow_extra_alignments = false;  // labels of utterances that the features do not have
  double max_bad_fraction = 0;
  bool allow_pipes = false;
  void Describe(Fields* f);
};

class LabelTable;

class SpeechCorpus : public UtteranceSource {
 public:
  // Bad utterances (no labels or no features, wrong dimension, frame counts that differ, labels
  // outside [0, num_labels), truncated archive, duplicate key, unreadable audio, no speaker) are
  // left out and named in warnings(); more than policy.max_bad_fraction of them, or nothing left,
  // throws Error(kBadData) naming the first 20. num_labels 0: any label from 0.
  static std::unique_ptr<SpeechCorpus> Open(const UtteranceSetSpec& files,
                                            const FeatureSpec& features,
                                            const ReadPolicy& policy = {}, int32_t num_labels = 0);
  ~SpeechCorpus() override;

  int num_utterances() const override { return static_cast<int>(utterances_.size()); }
  int32_t frames(int i) const override { return utterances_[i].frames; }
  int64_t total_frames() const { return total_frames_; }
  int32_t dim() const override { return dim_; }
  bool has_labels() const override { return labels_ != nullptr; }
  const std::string& id(int i) const { return utterances_[i].entry.key; }
  // The utterance's own id where there is no utt2spk.
  const std::string& speaker(int i) const { return speakers_[utterances_[i].speaker]; }
  std::vector<int32_t> labels(int i) const;
  int32_t read_rank(int i) const override { return utterances_[i].read_rank; }
  // One line per bad utterance: the first 20 named, then a count.
  const std::vector<std::string>& warnings() const { return warnings_; }
  int bad_utterances() const { return bad_; }

  // Reads utterance i, normalised as the FeatureSpec says. Broken data throws Error(kBadData).
  void Load(int i, Matrix* features, std::vector<int32_t>* labels) const override;
  // The features as they are stored, or computed from audio.
  Matrix LoadRaw(int i) const;

  // Mean and inverse standard deviation (1 where !normalise_variance) of all frames, each [dim].
  // Summed in float64 and in one order, whatever the number of threads.
  void ComputeGlobalStats(std::vector<float>* mean, std::vector<float>* inv_std,
                          int threads = 1) const;
  // For Normalisation::kGlobal; Load needs it then.
  void SetGlobalStats(std::vector<float> mean, std::vector<float> inv_std);

 private:
  struct Utterance {
    ScpEntry entry;
    int32_t frames = 0;   // that count: the smaller of features and labels
    int32_t rows = 0;     // of features
    int32_t speaker = 0;  // index into speakers_
    int32_t label = -1;   // index into labels_
    int32_t read_rank = 0;
  };
  struct SpeakerNormaliser {
    std::mutex mutex;
    bool ready = false;
    Normaliser normaliser;
  };
  friend class CorpusOpener;
  explicit SpeechCorpus(const FeatureSpec& features);
  Normaliser ReadCmvn(const std::string& key) const;
  Normaliser SpeakerStats(int speaker) const;
  void Normalise(int i, Matrix* features) const;

  FeatureSpec features_;
  std::unique_ptr<Fbank> fbank_;        // of audio
  std::unique_ptr<LabelTable> labels_;  // null without alignments
  std::vector<Utterance> utterances_;
  std::vector<std::string> speakers_;
  std::vector<std::vector<int>> by_speaker_;        // utterances of each speaker
  std::unordered_map<std::string, ScpEntry> cmvn_;  // CMVN statistics by speaker or utterance
  std::vector<std::unique_ptr<SpeakerNormaliser>> speaker_normalisers_;  // made when first needed
  std::vector<std::string> warnings_;
  Normaliser global_;
  int64_t total_frames_ = 0;
  int32_t dim_ = 0;
  int bad_ = 0;
};

}  // namespace mariana
