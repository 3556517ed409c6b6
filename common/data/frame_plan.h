// FramePlan: the order of one epoch, computed from frame counts alone: utterances permuted and cut
// into blocks, and for each block the permutation of its frames. A pure function of (seed, epoch).
// Thread-safe: const after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/utterance_source.h"

namespace mariana {

class FramePlan {
 public:
  struct Options {
    uint64_t seed = 0;
    int64_t epoch = 0;
    int64_t block_frames = 1 << 18;
    bool shuffle = true;
  };
  FramePlan(const UtteranceSource& source, const Options& options);

  int64_t total_frames() const { return starts_.back(); }
  int num_blocks() const { return static_cast<int>(starts_.size()) - 1; }
  // Samples of the epoch before block b.
  int64_t start(int b) const { return starts_[b]; }
  int64_t frames(int b) const { return starts_[b + 1] - starts_[b]; }
  // The block that holds sample `sample` of the epoch; num_blocks() when there is none.
  int BlockOf(int64_t sample) const;
  // Its utterances, in the order of their rows.
  std::vector<int32_t> Utterances(int b) const;
  // Its samples, as rows of the block in the order they are handed out.
  std::vector<int32_t> Order(int b) const;

 private:
  Options options_;
  std::vector<int32_t> utterances_;  // of all blocks
  std::vector<int64_t> starts_;      // blocks + 1: samples
  std::vector<int32_t> first_;       // blocks + 1: into utterances_
};

}  // namespace mariana
