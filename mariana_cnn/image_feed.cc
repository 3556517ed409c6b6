#include "mariana_cnn/image_feed.h"

#include <glog/logging.h>

namespace mariana {

void FeedPixels(const void* pixels, int64_t begin, const Tensor& input) {
  const int64_t image_bytes = input.bytes() / input.shape()[0];
  input.Upload(static_cast<const uint8_t*>(pixels) + begin * image_bytes);
}

ImageFeed::ImageFeed(const ImageSource* images, const ImageStreamOptions& options,
                     int64_t first_step)
    : stream_(images, options),
      batches_(options.clock ? options.clock : Clock::Real(), first_step + options.first_step,
               [this] { return stream_.Next(); }) {}

void ImageFeed::Fill(int, int64_t step, int64_t begin, const Tensor& input, const Tensor& labels) {
  const std::shared_ptr<const ImageBatch> batch = batches_.Get(step);
  CHECK_LE(begin + input.shape()[0], batch->rows());
  FeedPixels(batch->input.get(), begin, input);
  labels.Upload(static_cast<const uint8_t*>(batch->labels()) + begin * SizeOf(labels.dtype()));
}

}  // namespace mariana
