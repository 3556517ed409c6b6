// UtteranceSource: labelled sequences of frames, addressed by index. What FrameStream reads.
// Thread-safe: const methods may be called from any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/kaldi.h"

namespace mariana {

class UtteranceSource {
 public:
  virtual ~UtteranceSource() = default;
  virtual int num_utterances() const = 0;
  virtual int32_t frames(int i) const = 0;
  virtual int32_t dim() const = 0;
  virtual bool has_labels() const = 0;
  // Rank of utterance i in the order that reads storage forwards (file, offset).
  virtual int32_t read_rank(int i) const = 0;
  // features: [frames(i), dim]; labels: [frames(i)], may be null.
  virtual void Load(int i, Matrix* features, std::vector<int32_t>* labels) const = 0;
};

}  // namespace mariana
