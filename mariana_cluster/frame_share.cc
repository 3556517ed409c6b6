#include "mariana_cluster/frame_share.h"

#include <glog/logging.h>

#include <numeric>
#include <utility>

#include "common/base/random.h"

namespace mariana {

FrameShare::FrameShare(const UtteranceSource* all, uint64_t seed, int64_t epoch, int part,
                       int parts)
    : all_(all) {
  CHECK(part >= 0 && part < parts && epoch >= 0) << part << " of " << parts;
  std::vector<int32_t> order(static_cast<size_t>(all->num_utterances()));
  std::iota(order.begin(), order.end(), 0);
  RandomSequence random(seed, kShareStream + static_cast<uint64_t>(epoch));
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  int64_t total = 0, begin = 0;
  for (const int32_t u : order) total += all->frames(u);
  for (const int32_t u : order) {
    const int64_t n = all->frames(u);
    // An utterance is where its middle is.
    if ((2 * begin + n) * parts / (2 * total) == part) {
      chosen_.push_back(u);
      total_frames_ += n;
    }
    begin += n;
  }
}

}  // namespace mariana
