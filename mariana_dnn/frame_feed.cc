#include "mariana_dnn/frame_feed.h"

#include <glog/logging.h>

#include "common/base/error.h"

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

FrameSource::FrameSource(const UtteranceSource* corpus, const FrameStreamOptions& options,
                         int64_t first_step, std::vector<std::unique_ptr<FrameFeeder>>* feeders)
    : stream_(corpus, options),
      first_step_(first_step),
      feeders_(feeders),
      arrived_(options.clock ? options.clock : Clock::Real()) {}

int64_t FrameSource::Rows(int64_t step) { return Get(step)->rows(); }

void FrameSource::Fill(int worker, int64_t step, int64_t begin, const Tensor& input,
                       const Tensor& labels) {
  (*feeders_)[static_cast<size_t>(worker)]->Feed(*Get(step), begin, input, labels);
}

// The first worker that asks for a new step takes it from the stream; the others wait for it.
std::shared_ptr<const FrameBatch> FrameSource::Get(int64_t step) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    for (const auto& batch : batches_) {
      if (batch->step == step - first_step_) return batch;
    }
    if (error_) std::rethrow_exception(error_);
    if (fetching_) {
      arrived_.Wait(&lock, [this] { return !fetching_; });
      continue;
    }
    fetching_ = true;
    lock.unlock();
    auto batch = std::make_shared<FrameBatch>();
    std::exception_ptr error;
    try {
      if (!stream_.Next(batch.get())) {
        throw Fail(ExitCode::kInternal, "no batch for step ", step, ": the epoch has ended");
      }
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    fetching_ = false;
    error_ = error;
    if (!error) {
      batches_.push_back(std::move(batch));
      if (batches_.size() > 2) batches_.pop_front();
    }
    arrived_.NotifyAll();
  }
}

}  // namespace mariana
