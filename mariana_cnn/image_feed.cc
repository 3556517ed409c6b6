#include "mariana_cnn/image_feed.h"

#include <glog/logging.h>

namespace mariana {

void FeedPixels(const uint8_t* pixels, int64_t begin, const Tensor& input) {
  const int64_t image_bytes = input.bytes() / input.shape()[0];
  input.Upload(pixels + begin * image_bytes);
}

ImageStreamOptions OfThisRank(ImageStreamOptions options, const DataParallel* workers,
                              int64_t group) {
  const DataParallelOptions& o = workers->options();
  if (o.total() == o.local()) return options;
  options.part = [&o, group](int64_t rows) {
    const std::vector<Share> shares = DealOut(rows, group, o.groups());
    const Share& first = shares[static_cast<size_t>(o.group_of(o.first()))];
    const Share& last = shares[static_cast<size_t>(o.group_of(o.first() + o.local() - 1))];
    return std::make_pair(first.begin, last.begin + last.rows);
  };
  return options;
}

ImageFeed::ImageFeed(const ImageSource* images, const ImageStreamOptions& options,
                     int64_t epoch_begin, DataParallel* workers)
    : stream_(images, OfThisRank(options, workers, workers->net(0)->group())),
      batches_(workers->options(),
               {epoch_begin + options.first_step, epoch_begin + stream_.steps(),
                workers->net(0)->group(), false, workers->NextInputs()},
               [this] { return Next(); }) {}

std::shared_ptr<HostBatch> ImageFeed::Next() {
  auto images = std::make_shared<ImageBatch>();
  if (!stream_.Next(images.get())) return nullptr;
  auto batch = std::make_shared<HostBatch>();
  batch->rows = images->whole_rows;
  batch->first = images->first_row;
  batch->input = images->pixels.data();
  batch->labels = images->target.empty() ? static_cast<const void*>(images->label.data())
                                         : images->target.data();
  batch->keep = std::move(images);
  return batch;
}

std::vector<StageSeconds> ImageFeed::Seconds() const {
  std::vector<StageSeconds> all = stream_.Seconds();
  all.pop_back();  // "consume" is told by the stages that follow
  for (const StageSeconds& stage : batches_.Seconds()) all.push_back(stage);
  return all;
}

}  // namespace mariana
