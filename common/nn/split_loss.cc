#include "common/nn/split_loss.h"

namespace mariana {
namespace {
constexpr int64_t kSummary = SplitSoftmaxOp::kSummary;
}  // namespace

SplitLoss::SplitLoss(const NetOptions& options, float smoothing)
    : messages_(options.split->loss_messages),
      worker_(static_cast<size_t>(options.worker)),
      transfers_(options.transfers),
      device_(options.device) {
  const std::vector<ChannelRange>& classes = options.split->classes;
  SplitSoftmaxSpec spec;
  for (const ChannelRange& c : classes) {  // ascending, as workers are
    part_of_.push_back(spec.parts);
    if (!c.empty()) ++spec.parts;
    spec.whole += c.size();
  }
  spec.max_rows = options.max_rows;
  spec.first = classes[worker_].begin;
  spec.classes = classes[worker_].size();
  spec.smoothing = smoothing;
  op_ = device_->MakeSplitSoftmax(spec);
  own_ = Tensor(device_, Dtype::kF32, Shape{options.max_rows, kSummary});
  all_ = Tensor(device_, Dtype::kF32, Shape{options.max_rows, spec.parts, kSummary});
}

void SplitLoss::Loss(const float* logits, const int32_t* labels, float* gradient, float scale,
                     int64_t rows, LossSums* sums) {
  op_->Summarize(logits, labels, own_.f32(), rows);
  const TransferRows mine{own_.data(), kSummary, rows, kSummary, Dtype::kF32};
  for (int message : messages_[worker_]) {
    if (message >= 0) transfers_->Offer(message, mine);
  }
  for (size_t from = 0; from < messages_.size(); ++from) {
    const int message = messages_[from][worker_];
    if (message < 0 && from != worker_) continue;
    const TransferRows source = from == worker_ ? mine : transfers_->Receive(message);
    device_->CopyColumns(source.data, source.stride, 0, all_.data(),
                         all_.elements() / all_.shape()[0], part_of_[from] * kSummary, rows,
                         kSummary, Dtype::kF32);
    if (from != worker_) transfers_->Take(message);
  }
  for (int message : messages_[worker_]) {
    if (message >= 0) transfers_->AwaitTaken(message);
  }
  op_->Loss(logits, labels, all_.f32(), gradient, scale, rows, sums);
}

}  // namespace mariana
