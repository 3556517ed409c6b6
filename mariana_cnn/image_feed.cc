#include "mariana_cnn/image_feed.h"

#include <glog/logging.h>

namespace mariana {

void FeedImages(const ImageBatch& batch, int64_t begin, const Tensor& input, const Tensor& labels) {
  const int64_t rows = input.shape()[0];
  const int64_t image_bytes = input.bytes() / rows;
  CHECK_LE((begin + rows) * image_bytes, static_cast<int64_t>(batch.pixels.size()));
  input.Upload(batch.pixels.data() + begin * image_bytes);
  if (labels.empty()) return;
  if (labels.dtype() == Dtype::kI32) {
    labels.Upload(batch.label.data() + begin);
  } else {
    labels.Upload(batch.target.data() + begin);
  }
}

ImageFeed::ImageFeed(const ImageSource* images, const ImageStreamOptions& options,
                     int64_t first_step)
    : stream_(images, options),
      batches_(options.clock ? options.clock : Clock::Real(), first_step + options.first_step,
               [this] {
                 auto batch = std::make_shared<ImageBatch>();
                 return stream_.Next(batch.get()) ? batch : nullptr;
               }) {}

void ImageFeed::Fill(int, int64_t step, int64_t begin, const Tensor& input, const Tensor& labels) {
  FeedImages(*batches_.Get(step), begin, input, labels);
}

}  // namespace mariana
