// SpeechCorpus::Open: which utterances there are, and which of them are bad.
#include <glog/logging.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "common/base/error.h"
#include "common/data/corpus.h"
#include "common/data/label_table.h"
#include "common/data/wave.h"

namespace mariana {
namespace {

constexpr size_t kNamed = 20;  // bad utterances named; the rest are counted

std::string Place(const std::string& file, const std::string& key) {
  return StrCat(file, ": utterance \"", key, "\": ");
}

// Frame counts beside the scp, as Kaldi's recipes leave them; empty where there are none.
std::unordered_map<std::string, int32_t> ReadFrameCounts(const std::string& scp) {
  const size_t slash = scp.rfind('/');
  const std::string path =
      scp.substr(0, slash == std::string::npos ? 0 : slash + 1) + "utt2num_frames";
  std::unordered_map<std::string, int32_t> counts;
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return counts;
  for (const auto& [key, text] : ReadTable(path)) {
    int32_t n = -1;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), n);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size() || n < 0) {
      throw Fail(ExitCode::kBadData, Place(path, key), "\"", text, "\" is not a number of frames");
    }
    counts[key] = n;
  }
  return counts;
}

}  // namespace

class CorpusOpener {
 public:
  CorpusOpener(const UtteranceSetSpec& files, const FeatureSpec& features, const ReadPolicy& policy,
               int32_t num_labels)
      : files_(files),
        features_(features),
        policy_(policy),
        scp_(files.feats.empty() ? files.wav : files.feats),
        num_labels_(num_labels),
        corpus_(new SpeechCorpus(features)) {}

  std::unique_ptr<SpeechCorpus> Open() {
    if (files_.empty()) throw Error(ExitCode::kUsage, "a set of utterances needs feats or wav");
    CHECK(files_.cmvn.empty() || features_.normalise == Normalisation::kSpeaker ||
          features_.normalise == Normalisation::kUtterance);
    if (!files_.wav.empty()) corpus_->fbank_ = std::make_unique<Fbank>(features_.fbank);
    ListUtterances();
    MeasureFeatures();
    if (!files_.alignments.empty()) MatchLabels();
    FindSpeakers();
    if (!files_.cmvn.empty()) MatchCmvn();
    KeepGood();
    Judge();
    RankByPlace();
    return std::move(corpus_);
  }

 private:
  using Utterance = SpeechCorpus::Utterance;

  // Names a bad utterance; the first reason counts.
  void Bad(const std::string& key, const std::string& what) {
    if (!bad_.insert(key).second) return;
    problems_.push_back(what);
  }
  bool IsBad(const Utterance& u) const { return bad_.count(u.entry.key) > 0; }

  void ListUtterances() {
    std::unordered_set<std::string> seen;
    for (ScpEntry& entry : ReadScp(scp_, policy_.allow_pipes)) {
      if (seen.insert(entry.key).second) {
        Utterance u;
        u.entry = std::move(entry);
        corpus_->utterances_.push_back(std::move(u));
      } else {
        Bad(entry.key, Place(StrCat(scp_, ":", entry.line), entry.key) + "comes twice");
      }
    }
    known_ = std::move(seen);
  }

  // ---- features -----------------------------------------------------------------------------

  void MeasureFeatures() {
    corpus_->dim_ = static_cast<int32_t>(files_.wav.empty() ? 0 : features_.fbank.mel_bins);
    std::vector<bool> measured(corpus_->utterances_.size(), false);
    if (files_.wav.empty()) TakeFrameCounts(&measured);
    for (size_t i = 0; i < measured.size(); ++i) {
      Utterance& u = corpus_->utterances_[i];
      if (!measured[i]) Measure(&u);
      if (!IsBad(u) && u.rows == 0)
        Bad(u.entry.key, Place(u.entry.path, u.entry.key) + "no frames");
      u.frames = u.rows;
    }
  }

  // Where utt2num_frames tells the sizes, only enough headers are read to know the dimension and
  // to find archives cut short: the first utterance, and the last ones of each file.
  void TakeFrameCounts(std::vector<bool>* measured) {
    const auto counts = ReadFrameCounts(scp_);
    std::map<std::string, std::vector<std::pair<int64_t, size_t>>> by_file;
    for (size_t i = 0; i < measured->size(); ++i) {
      Utterance& u = corpus_->utterances_[i];
      const auto it = counts.find(u.entry.key);
      if (it == counts.end() || u.entry.is_command || u.entry.offset < 0) continue;
      u.rows = it->second;
      (*measured)[i] = i > 0;
      by_file[u.entry.path].emplace_back(u.entry.offset, i);
    }
    if (!measured->empty()) Measure(&corpus_->utterances_[0]);
    for (auto& [path, places] : by_file) {
      std::sort(places.rbegin(), places.rend());
      for (const auto& place : places) {
        Utterance& u = corpus_->utterances_[place.second];
        if (Measure(&u)) break;
      }
    }
  }

  // Sets rows from the header; false when the utterance is bad.
  bool Measure(Utterance* u) {
    try {
      files_.wav.empty() ? MeasureMatrix(u) : MeasureWave(u);
    } catch (const Error& e) {
      Bad(u->entry.key, e.message());
    }
    return !IsBad(*u);
  }

  void MeasureMatrix(Utterance* u) {
    const MatrixSize size = ReadMatrixSize(u->entry);
    if (corpus_->dim_ == 0) corpus_->dim_ = size.cols;
    if (size.cols != corpus_->dim_ && size.rows > 0) {
      Bad(u->entry.key, Place(u->entry.path, u->entry.key) +
                            StrCat("dimension ", size.cols, ", expected ", corpus_->dim_));
    }
    u->rows = size.rows;
  }

  void MeasureWave(Utterance* u) {
    const WaveInfo info = ReadWaveInfo(u->entry);
    if (info.sample_rate != features_.fbank.sample_rate) {
      Bad(u->entry.key, Place(u->entry.path, u->entry.key) +
                            StrCat("sample rate ", info.sample_rate, " Hz, expected ",
                                   features_.fbank.sample_rate, " (fbank.sample_rate)"));
    }
    u->rows = static_cast<int32_t>(corpus_->fbank_->NumFrames(info.samples));
  }

  // ---- labels, speakers ---------------------------------------------------------------------

  void MatchLabels() {
    LabelTable::Options options;
    options.allow_pipes = policy_.allow_pipes;
    options.num_labels = num_labels_;
    corpus_->labels_ = std::make_unique<LabelTable>(
        files_.alignments, options, [this](const std::string& key, const std::string& what) {
          if (key.empty()) {
            problems_.push_back(what);
          } else if (known_.count(key) > 0 || !policy_.allow_extra_alignments) {
            Bad(key, what);
          }
        });
    for (Utterance& u : corpus_->utterances_) MatchLabel(&u);
    if (policy_.allow_extra_alignments) return;
    for (int i = 0; i < corpus_->labels_->size(); ++i) {
      const std::string& key = corpus_->labels_->key(i);
      if (known_.count(key) == 0) {
        Bad(key,
            Place(files_.alignments, key) + StrCat("has labels but is not in ", scp_,
                                                   " (allow_extra_alignments: true permits it)"));
      }
    }
  }

  void MatchLabel(Utterance* u) {
    if (IsBad(*u)) return;
    const std::string& key = u->entry.key;
    u->label = corpus_->labels_->Find(key);
    if (u->label < 0) {
      return Bad(key, Place(scp_, key) + StrCat("has no labels in ", files_.alignments));
    }
    const int32_t labels = corpus_->labels_->length(u->label);
    if (std::abs(labels - u->rows) > policy_.frame_tolerance) {
      Bad(key, Place(files_.alignments, key) + StrCat(labels, " labels for ", u->rows, " frames"));
    }
    u->frames = std::min(u->rows, labels);
    if (u->frames == 0) Bad(key, Place(files_.alignments, key) + "no labels");
  }

  void FindSpeakers() {
    std::unordered_map<std::string, std::string> speaker_of;
    if (!files_.utt2spk.empty()) {
      for (auto& [key, speaker] : ReadTable(files_.utt2spk)) {
        if (!speaker_of.emplace(key, speaker).second && known_.count(key) > 0) {
          Bad(key, Place(files_.utt2spk, key) + "comes twice");
        }
      }
    }
    std::unordered_map<std::string, int32_t> number;
    for (Utterance& u : corpus_->utterances_) {
      const auto it = speaker_of.find(u.entry.key);
      if (it == speaker_of.end() && !files_.utt2spk.empty()) {
        Bad(u.entry.key, Place(scp_, u.entry.key) + StrCat("has no speaker in ", files_.utt2spk));
      }
      const std::string& name = it == speaker_of.end() ? u.entry.key : it->second;
      const auto [known, added] =
          number.emplace(name, static_cast<int32_t>(corpus_->speakers_.size()));
      if (added) corpus_->speakers_.push_back(name);
      u.speaker = known->second;
    }
  }

  void MatchCmvn() {
    std::unordered_map<std::string, std::string> broken;  // why
    for (ScpEntry& entry : ReadScp(files_.cmvn, policy_.allow_pipes)) {
      const std::string key = entry.key;
      try {
        const MatrixSize size = ReadMatrixSize(entry);
        if (size.rows != 2 || size.cols != corpus_->dim_ + 1) {
          throw Fail(ExitCode::kBadData, Place(entry.path, key), "CMVN statistics are ", size.rows,
                     " x ", size.cols, ", expected 2 x ", corpus_->dim_ + 1);
        }
        corpus_->cmvn_.emplace(key, std::move(entry));
      } catch (const Error& e) {
        broken.emplace(key, e.message());
      }
    }
    for (const Utterance& u : corpus_->utterances_) {
      const bool by_speaker = features_.normalise == Normalisation::kSpeaker;
      const std::string& key = by_speaker ? corpus_->speakers_[u.speaker] : u.entry.key;
      if (corpus_->cmvn_.count(key) > 0) continue;
      const auto why = broken.find(key);
      Bad(u.entry.key,
          Place(scp_, u.entry.key) +
              (why != broken.end() ? why->second
                                   : StrCat("\"", key, "\" has no statistics in ", files_.cmvn)));
    }
  }

  // ---- verdict ------------------------------------------------------------------------------

  void KeepGood() {
    auto& all = corpus_->utterances_;
    total_ = known_.size();
    for (const std::string& key : bad_) total_ += known_.count(key) == 0;
    all.erase(std::remove_if(all.begin(), all.end(), [&](const Utterance& u) { return IsBad(u); }),
              all.end());
    corpus_->by_speaker_.resize(corpus_->speakers_.size());
    for (size_t i = 0; i < all.size(); ++i) {
      corpus_->total_frames_ += all[i].frames;
      corpus_->by_speaker_[all[i].speaker].push_back(static_cast<int>(i));
    }
    if (features_.normalise == Normalisation::kSpeaker) {
      for (size_t s = 0; s < corpus_->speakers_.size(); ++s) {
        corpus_->speaker_normalisers_.push_back(
            std::make_unique<SpeechCorpus::SpeakerNormaliser>());
      }
    }
    corpus_->bad_ = static_cast<int>(bad_.size());
  }

  void Judge() {
    std::vector<std::string>& lines = corpus_->warnings_;
    lines.assign(problems_.begin(), problems_.begin() + std::min(problems_.size(), kNamed));
    if (problems_.size() > kNamed) {
      lines.push_back(StrCat(scp_, ": and ", problems_.size() - kNamed, " more bad utterances"));
    }
    const double allowed = policy_.max_bad_fraction * static_cast<double>(total_);
    if (!corpus_->utterances_.empty() && static_cast<double>(bad_.size()) <= allowed) return;
    if (bad_.empty() && !corpus_->utterances_.empty()) return;
    std::string message;
    for (const std::string& line : lines) message += line + "\n";
    if (bad_.empty()) throw Fail(ExitCode::kBadData, message, scp_, ": no utterances");
    throw Fail(ExitCode::kBadData, message, scp_, ": ", bad_.size(), " of ", total_,
               " utterances are bad, max_bad_fraction allows ", policy_.max_bad_fraction,
               "; the first: ", problems_.front());
  }

  void RankByPlace() {
    auto& all = corpus_->utterances_;
    std::vector<int32_t> order(all.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      const ScpEntry &x = all[a].entry, &y = all[b].entry;
      return x.path != y.path ? x.path < y.path : x.offset < y.offset;
    });
    for (size_t rank = 0; rank < order.size(); ++rank) {
      all[order[rank]].read_rank = static_cast<int32_t>(rank);
    }
  }

  const UtteranceSetSpec& files_;
  const FeatureSpec& features_;
  const ReadPolicy& policy_;
  const std::string scp_;
  const int32_t num_labels_;
  std::unique_ptr<SpeechCorpus> corpus_;
  std::unordered_set<std::string> known_;  // keys of scp_
  std::unordered_set<std::string> bad_;    // keys
  std::vector<std::string> problems_;      // one line each, in the order they were found
  size_t total_ = 0;                       // utterances named anywhere
};

std::unique_ptr<SpeechCorpus> SpeechCorpus::Open(const UtteranceSetSpec& files,
                                                 const FeatureSpec& features,
                                                 const ReadPolicy& policy, int32_t num_labels) {
  return CorpusOpener(files, features, policy, num_labels).Open();
}

}  // namespace mariana
