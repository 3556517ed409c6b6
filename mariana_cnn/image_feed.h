// From batches of images to a net's input: sharing one stream of batches between the workers of a
// job.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/data/images/image_stream.h"
#include "common/tensor/tensor.h"
#include "common/train/data_parallel.h"
#include "common/train/shared_batches.h"

namespace mariana {

// Images [begin, begin + rows of input) of a batch's pixels onto the device.
void FeedPixels(const uint8_t* pixels, int64_t begin, const Tensor& input);

// The training batches of one epoch for all workers. Step s of the run is batch s - first_step of
// the stream. Thread-safe.
class ImageFeed : public BatchSource {
 public:
  ImageFeed(const ImageSource* images, const ImageStreamOptions& options, int64_t first_step);

  int64_t steps_in_epoch() const { return stream_.steps(); }
  int64_t Rows(int64_t step) override { return batches_.Get(step)->rows(); }
  void Fill(int worker, int64_t step, int64_t begin, const Tensor& input,
            const Tensor& labels) override;
  const ImageStream& stream() const { return stream_; }

 private:
  ImageStream stream_;
  SharedBatches<ImageBatch> batches_;
};

}  // namespace mariana
