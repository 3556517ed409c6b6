// FrameStream: the frames of one epoch in batches, shuffled through a bounded buffer.
//
// The order is a pure function of (seed, epoch): utterances are permuted and cut into blocks of at
// most block_frames frames (a longer utterance is a block by itself), the frames of a block are
// permuted, and the resulting sequence is cut every batch_size frames. So every frame comes once
// an epoch, all batches but the last are full, step k is samples [k * batch_size, ...) of the
// sequence whatever the number of threads, and a stream can start at any step. A batch that
// straddles two blocks belongs to the later one, into which the context windows of its older
// samples are copied.
//
// Stages: read (`readers` threads: storage, decoding, normalisation) -> assemble -> the caller.
// At most one block is being read and one being cut while the caller holds batches of another.
//
// Threading: Next belongs to one thread; the other methods are thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/clock.h"
#include "common/data/pipeline.h"
#include "common/data/utterance_source.h"

namespace mariana {

// Frames of some utterances, without context; immutable once handed out.
struct FrameBlock {
  int64_t rows = 0, dim = 0;
  std::vector<float> frames;  // [rows, dim]
};

// Sample i is row center[i] of the block; its context window is the rows center[i] + k, clamped to
// [begin[i], end[i]).
struct FrameBatch {
  std::shared_ptr<const FrameBlock> block;
  std::vector<int32_t> center, begin, end;
  std::vector<int32_t> label;      // empty when the source has none
  std::vector<int32_t> utterance;  // index in the source
  std::vector<int32_t> frame;      // in that utterance
  int64_t step = 0;
  int64_t rows() const { return static_cast<int64_t>(center.size()); }
};

struct FrameStreamOptions {
  uint64_t seed = 0;
  int64_t epoch = 0;
  int64_t batch_size = 256;
  int64_t block_frames = 1 << 18;
  int32_t left = 0, right = 0;  // context, frames
  int64_t first_step = 0;
  bool shuffle = true;     // false: utterances and frames in order
  int prefetch = 4;        // batches ready ahead of the caller
  int readers = 2;         // threads
  Clock* clock = nullptr;  // null: Clock::Real()
};

class FrameStream {
 public:
  // `source` outlives the stream.
  FrameStream(const UtteranceSource* source, const FrameStreamOptions& options);
  ~FrameStream();  // at any time

  // Batches in the epoch, counted from step 0 whatever first_step.
  int64_t steps() const;
  // False at the end of the epoch. An exception in any stage comes out here.
  bool Next(FrameBatch* batch);
  // The stages "read", "assemble" and "consume" (the caller: busy between its calls of Next).
  std::vector<StageSeconds> Seconds() const;
  // The most blocks that were in memory at once.
  int peak_blocks() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mariana
