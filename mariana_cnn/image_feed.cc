#include "mariana_cnn/image_feed.h"

#include <glog/logging.h>

namespace mariana {

void FeedPixels(const uint8_t* pixels, int64_t begin, const Tensor& input) {
  const int64_t image_bytes = input.bytes() / input.shape()[0];
  input.Upload(pixels + begin * image_bytes);
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
  const std::shared_ptr<const ImageBatch> batch = batches_.Get(step);
  CHECK_LE(begin + input.shape()[0], batch->rows());
  FeedPixels(batch->pixels.data(), begin, input);
  if (labels.dtype() == Dtype::kI32) {
    labels.Upload(batch->label.data() + begin);
  } else {
    labels.Upload(batch->target.data() + begin);
  }
}

}  // namespace mariana
