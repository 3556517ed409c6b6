#include "common/data/corpus.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

#include "common/base/error.h"
#include "common/data/label_table.h"
#include "common/data/pipeline.h"
#include "common/data/wave.h"

namespace mariana {
namespace {

// Utterances whose sums are held while their turn to be added comes.
constexpr int kStatsChunk = 256;

uint64_t HashOf(const std::string& text) {  // FNV-1a
  uint64_t h = 14695981039346656037u;
  for (unsigned char c : text) h = (h ^ c) * 1099511628211u;
  return h;
}

// Index of the first NaN or infinity, or -1.
int64_t FirstNotFinite(const std::vector<float>& data) {
  constexpr uint32_t kExponent = 0x7f800000u;
  uint32_t found = 0;
  for (float x : data) {  // no branch: vectorises
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    found |= static_cast<uint32_t>((bits & kExponent) == kExponent);
  }
  if (!found) return -1;
  const auto bad = std::find_if(data.begin(), data.end(), [](float x) { return x - x != 0; });
  return bad - data.begin();
}

}  // namespace

void UtteranceSetSpec::Describe(Fields* f) {
  f->Path("feats", &feats, PathKind::kInput, "Kaldi scp of feature matrices.");
  f->Path("wav", &wav, PathKind::kInput,
          "Kaldi scp of audio files, in place of feats; features come from features.fbank.");
  f->Path("alignments", &alignments, PathKind::kInput,
          "Labels of the frames: ark, text or (named *.scp) scp of integer vectors, or .gz.");
  f->Path("utt2spk", &utt2spk, PathKind::kInput, "Speaker of each utterance.");
  f->Path("cmvn", &cmvn, PathKind::kInput,
          "Kaldi scp of CMVN statistics by speaker or utterance; without it they are computed.");
  f->Require(feats.empty() || wav.empty(), "wav", "and `feats` exclude each other");
}

void FeatureSpec::Describe(Fields* f) {
  f->Section("fbank", &fbank, "Filter-bank features of audio files.");
  f->Choice("normalise", &normalise,
            {{"none", Normalisation::kNone},
             {"global", Normalisation::kGlobal},
             {"speaker", Normalisation::kSpeaker},
             {"utterance", Normalisation::kUtterance}},
            "Whose mean and variance features are normalised by; global: the training set's, "
            "stored in the model.");
  f->Bool("normalise_variance", &normalise_variance, "false: only the mean is removed.");
}

void ReadPolicy::Describe(Fields* f) {
  f->Int("frame_tolerance", &frame_tolerance,
         "Features and labels may differ by so many frames; the shorter counts.",
         Rule().Min(0).Max(1000));
  f->Bool("allow_extra_alignments", &allow_extra_alignments,
          "Labels of utterances without features are no mistake (one file for several sets).");
  f->Real("max_bad_fraction", &max_bad_fraction,
          "Share of bad utterances that is skipped with a warning; more is an error.",
          Rule().Min(0).Max(1));
  f->Bool("allow_pipes", &allow_pipes, "Run the commands in scp files (`... |`).");
}

SpeechCorpus::SpeechCorpus(const FeatureSpec& features) : features_(features) {}
SpeechCorpus::~SpeechCorpus() = default;

std::vector<int32_t> SpeechCorpus::labels(int i) const {
  CHECK(has_labels());
  std::vector<int32_t> labels = labels_->Read(utterances_[i].label);
  labels.resize(utterances_[i].frames);
  return labels;
}

Matrix SpeechCorpus::LoadRaw(int i) const {
  const Utterance& u = utterances_[i];
  Matrix m;
  if (fbank_ != nullptr) {
    m = fbank_->Compute(ReadWave(u.entry).samples, HashOf(u.entry.key));
  } else {
    m = ReadMatrix(u.entry);
  }
  const auto bad = [&](const auto&... what) {
    return Fail(ExitCode::kBadData, u.entry.path, ": utterance \"", u.entry.key, "\": ", what...);
  };
  if (m.rows != u.rows || m.cols != dim_) {
    throw bad("is ", m.rows, " x ", m.cols, ", expected ", u.rows, " x ", dim_);
  }
  const int64_t at = FirstNotFinite(m.data);
  if (at >= 0) throw bad("not a finite number in row ", at / m.cols, ", column ", at % m.cols);
  return m;
}

void SpeechCorpus::Load(int i, Matrix* features, std::vector<int32_t>* labels) const {
  *features = LoadRaw(i);
  Normalise(i, features);
  features->rows = utterances_[i].frames;
  features->data.resize(int64_t{features->rows} * features->cols);
  if (labels != nullptr) *labels = this->labels(i);
}

Normaliser SpeechCorpus::ReadCmvn(const std::string& key) const {
  return Moments::FromKaldi(ReadDoubleMatrix(cmvn_.at(key))).Finish(features_.normalise_variance);
}

// By speaker: from cmvn or all of the speaker's utterances, once.
Normaliser SpeechCorpus::SpeakerStats(int speaker) const {
  SpeakerNormaliser& s = *speaker_normalisers_[speaker];
  std::unique_lock<std::mutex> lock(s.mutex);
  if (!s.ready) {
    if (!cmvn_.empty()) {
      s.normaliser = ReadCmvn(speakers_[speaker]);
    } else {
      Moments sums(dim_);
      for (int i : by_speaker_[speaker]) sums.Add(LoadRaw(i));
      s.normaliser = sums.Finish(features_.normalise_variance);
    }
    s.ready = true;
  }
  return s.normaliser;
}

void SpeechCorpus::Normalise(int i, Matrix* features) const {
  switch (features_.normalise) {
    case Normalisation::kNone: return;
    case Normalisation::kGlobal:
      CHECK(!global_.mean.empty()) << "SetGlobalStats comes before Load";
      return global_.Apply(features);
    case Normalisation::kSpeaker: return SpeakerStats(utterances_[i].speaker).Apply(features);
    case Normalisation::kUtterance:
      if (!cmvn_.empty()) return ReadCmvn(id(i)).Apply(features);
      Moments sums(dim_);
      sums.Add(*features);
      return sums.Finish(features_.normalise_variance).Apply(features);
  }
}

void SpeechCorpus::ComputeGlobalStats(std::vector<float>* mean, std::vector<float>* inv_std,
                                      int threads) const {
  Moments total(dim_);
  for (int begin = 0; begin < num_utterances(); begin += kStatsChunk) {
    const int end = std::min(begin + kStatsChunk, num_utterances());
    std::vector<Moments> sums(end - begin, Moments(dim_));
    std::atomic<int> next{begin};
    Pipeline pipeline(Clock::Real());
    pipeline.AddStage("statistics", std::max(threads, 1), [&](StageMeter*) {
      for (int i; (i = next++) < end && !pipeline.stopping();) sums[i - begin].Add(LoadRaw(i));
    });
    pipeline.Join();
    for (const Moments& m : sums) total.Add(m);  // in order, whatever the threads did
  }
  Normaliser n = total.Finish(features_.normalise_variance);
  *mean = std::move(n.mean);
  *inv_std = std::move(n.inv_std);
}

void SpeechCorpus::SetGlobalStats(std::vector<float> mean, std::vector<float> inv_std) {
  CHECK_EQ(mean.size(), static_cast<size_t>(dim_));
  CHECK_EQ(inv_std.size(), mean.size());
  global_ = {std::move(mean), std::move(inv_std)};
}

}  // namespace mariana
