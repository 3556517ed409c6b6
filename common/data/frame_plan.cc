#include "common/data/frame_plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>

#include "common/base/random.h"

namespace mariana {
namespace {

// Fisher-Yates.
void Permute(RandomSequence random, std::vector<int32_t>* v) {
  for (size_t i = v->size(); i > 1; --i) std::swap((*v)[i - 1], (*v)[random.Below(i)]);
}

}  // namespace

FramePlan::FramePlan(const UtteranceSource& source, const Options& options)
    : options_(options), utterances_(source.num_utterances()), starts_{0}, first_{0} {
  CHECK_GT(options.block_frames, 0);
  std::iota(utterances_.begin(), utterances_.end(), 0);
  if (options.shuffle) {
    Permute(RandomSequence(options.seed, kShuffleStream + options.epoch), &utterances_);
  }
  int64_t end = 0;
  for (size_t i = 0; i < utterances_.size(); ++i) {
    const int64_t n = source.frames(utterances_[i]);
    if (end > starts_.back() && end + n - starts_.back() > options.block_frames) {
      starts_.push_back(end);
      first_.push_back(static_cast<int32_t>(i));
    }
    end += n;
  }
  if (end > 0) {
    starts_.push_back(end);
    first_.push_back(static_cast<int32_t>(utterances_.size()));
  }
}

int FramePlan::BlockOf(int64_t sample) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), sample);
  return static_cast<int>(after - starts_.begin()) - 1;
}

std::vector<int32_t> FramePlan::Utterances(int b) const {
  return {utterances_.begin() + first_[b], utterances_.begin() + first_[b + 1]};
}

std::vector<int32_t> FramePlan::Order(int b) const {
  std::vector<int32_t> rows(frames(b));
  std::iota(rows.begin(), rows.end(), 0);
  if (options_.shuffle) {
    // A seed of its own, from a counter that no permutation of utterances reaches.
    const Philox4 own = Philox(options_.seed, kShuffleStream + options_.epoch,
                               (uint64_t{1} << 62) + static_cast<uint64_t>(b));
    Permute(RandomSequence((uint64_t{own.v[0]} << 32) | own.v[1], kShuffleStream), &rows);
  }
  return rows;
}

}  // namespace mariana
