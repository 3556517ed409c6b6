// Frame scores of an acoustic model: cross-entropy, state and phone accuracy, each also without
// silence; and the log posteriors of whole utterances, for decoding and `forward`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/data/corpus.h"
#include "common/nn/net.h"
#include "common/train/frame_feeder.h"

namespace mariana {

// label -> phone, and which phones are silence; empty without a states file.
struct LabelInfo {
  std::vector<int32_t> phone;  // [labels]
  std::vector<bool> silence;   // [labels]
};

struct FrameScores {
  double loss = 0;  // sum
  int64_t frames = 0, correct = 0, phone_correct = 0;
  int64_t speech_frames = 0, speech_correct = 0, speech_phone_correct = 0;

  void Add(const FrameScores& other);
  // "loss", "accuracy" and, with a states file, "accuracy_no_silence", "phone_accuracy",
  // "phone_accuracy_no_silence".
  std::vector<std::pair<std::string, double>> Values(const LabelInfo& labels) const;
};

// Scores samples with one net. Used by one thread at a time.
class FrameScorer {
 public:
  FrameScorer(Net* net, const ContextSpec& context);

  // Samples [begin, begin + rows) of the batch.
  void Score(const FrameBatch& batch, int64_t begin, int64_t rows, const LabelInfo& labels,
             FrameScores* scores);
  // Their log posteriors, [rows, labels], appended to `out`.
  void LogPosteriors(const FrameBatch& batch, int64_t begin, int64_t rows, std::vector<float>* out);

 private:
  template <class F>
  void ForEachPart(const FrameBatch& batch, int64_t begin, int64_t rows, bool with_labels, F f);

  Net* net_;
  FrameFeeder feeder_;
  Tensor input_, labels_, argmax_, posteriors_;
};

// Calls visit(utterance, log posteriors [frames, labels]) for every utterance in order; stops
// early when it returns false. With `scores`, also scores the frames.
void ForEachUtterance(
    const UtteranceSource& corpus, FrameScorer* scorer, int64_t batch_rows,
    const ContextSpec& context, int64_t num_labels, const LabelInfo& labels, FrameScores* scores,
    const std::function<bool(int utterance, const Matrix& log_posteriors)>& visit);

}  // namespace mariana
