// FrameShare: one of several equal parts of a set of utterances, for a worker to read. Which
// utterances are in which part is a pure function of (seed, epoch): they are permuted, and the
// permutation is cut where the frames come to equal parts.
//
// Threading: const, thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/utterance_source.h"

namespace mariana {

class FrameShare : public UtteranceSource {
 public:
  // Part `part` of `parts`; may be empty. `all` outlives it.
  FrameShare(const UtteranceSource* all, uint64_t seed, int64_t epoch, int part, int parts);

  int64_t total_frames() const { return total_frames_; }
  int num_utterances() const override { return static_cast<int>(chosen_.size()); }
  int32_t frames(int i) const override { return all_->frames(At(i)); }
  int32_t dim() const override { return all_->dim(); }
  bool has_labels() const override { return all_->has_labels(); }
  int32_t read_rank(int i) const override { return all_->read_rank(At(i)); }
  void Load(int i, Matrix* features, std::vector<int32_t>* labels) const override {
    all_->Load(At(i), features, labels);
  }

 private:
  int32_t At(int i) const { return chosen_[static_cast<size_t>(i)]; }

  const UtteranceSource* all_;
  std::vector<int32_t> chosen_;
  int64_t total_frames_ = 0;
};

}  // namespace mariana
