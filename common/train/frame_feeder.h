// From batches of frames to a net's input: labelled frames with their context, spliced on the
// device.
#pragma once

#include <memory>

#include "common/data/frame_stream.h"
#include "common/nn/net.h"
#include "common/train/data_parallel.h"
#include "common/train/frame_data.h"

namespace mariana {

// A stream of every frame once, in the corpus's own order: what evaluation reads.
FrameStreamOptions InOrder(const ContextSpec& context, int64_t batch_rows);

// One worker's way of turning samples of a batch into device memory. The unspliced block is
// uploaded once (not at all where the device reads host memory); samples are gathered and spliced
// there. Used by one thread at a time.
class FrameFeeder {
 public:
  FrameFeeder(Device* device, const ContextSpec& context, int64_t max_rows);
  // Samples [begin, begin + rows of input). `labels` may be empty.
  void Feed(const FrameBatch& batch, int64_t begin, const Tensor& input, const Tensor& labels);

 private:
  const float* BlockOnDevice(const std::shared_ptr<const FrameBlock>& block);

  Device* device_;
  ContextSpec context_;
  Tensor index_;  // i32 [3, max_rows]: center, begin, end
  int64_t max_rows_;
  std::shared_ptr<const FrameBlock> block_;  // what is on the device
  Tensor block_frames_;
};

// A worker's samples in its device's memory. Used by one thread at a time.
class WorkerFrames {
 public:
  // `net` is the one that the worker trains.
  WorkerFrames(const Net& net, const ContextSpec& context);
  // Valid until the next call.
  DeviceBatch Take(const FrameBatch& batch, int64_t begin, int64_t rows);

 private:
  FrameFeeder feeder_;
  DeviceBatch all_;  // max_rows of the net
};

}  // namespace mariana
