#include "common/train/frame_feeder.h"

#include <glog/logging.h>

namespace mariana {

FrameStreamOptions InOrder(const ContextSpec& context, int64_t batch_rows) {
  FrameStreamOptions options;
  options.batch_size = batch_rows;
  options.left = static_cast<int32_t>(context.left);
  options.right = static_cast<int32_t>(context.right);
  options.shuffle = false;
  return options;
}

FrameFeeder::FrameFeeder(Device* device, const ContextSpec& context, int64_t max_rows)
    : device_(device),
      context_(context),
      index_(device, Dtype::kI32, {3, max_rows}),
      max_rows_(max_rows) {}

void FrameFeeder::Feed(const FrameBatch& batch, int64_t begin, const Tensor& input,
                       const Tensor& labels) {
  const int64_t rows = input.shape()[0];
  CHECK_LE(rows, max_rows_);
  CHECK_LE(begin + rows, batch.rows());
  int32_t* index[3];
  const std::vector<int32_t>* from[3] = {&batch.center, &batch.begin, &batch.end};
  for (int k = 0; k < 3; ++k) {
    index[k] = index_.i32() + k * max_rows_;
    device_->Upload(index[k], from[k]->data() + begin, rows * int64_t{sizeof(int32_t)});
  }
  device_->Splice(BlockOnDevice(batch.block), batch.block->dim, index[0], index[1], index[2], rows,
                  static_cast<int>(context_.left), static_cast<int>(context_.right), input.data(),
                  input.dtype());
  if (!labels.empty()) {
    device_->Upload(labels.data(), batch.label.data() + begin, rows * int64_t{sizeof(int32_t)});
  }
}

const float* FrameFeeder::BlockOnDevice(const std::shared_ptr<const FrameBlock>& block) {
  if (device_->info().host_memory) return block->frames.data();
  if (block_ != block) {
    block_ = block;
    const Shape shape{block->rows, block->dim};
    if (block_frames_.empty() || block_frames_.elements() < shape.elements()) {
      block_frames_ = Tensor(device_, Dtype::kF32, shape);
    }
    block_frames_.Slice(0, Dtype::kF32, shape).Upload(block->frames.data());
  }
  return block_frames_.f32();
}

WorkerFrames::WorkerFrames(const Net& net, const ContextSpec& context)
    : feeder_(net.options().device, context, net.options().max_rows) {
  const NetOptions& o = net.options();
  std::vector<int64_t> input{o.max_rows};
  input.insert(input.end(), o.input.dims().begin(), o.input.dims().end());
  all_ = {Tensor(o.device, o.compute, Shape(input)), Tensor(o.device, Dtype::kI32, {o.max_rows})};
}

DeviceBatch WorkerFrames::Take(const FrameBatch& batch, int64_t begin, int64_t rows) {
  DeviceBatch part{all_.input.Rows(0, rows), all_.labels.Rows(0, rows)};
  feeder_.Feed(batch, begin, part.input, part.labels);
  return part;
}

}  // namespace mariana
