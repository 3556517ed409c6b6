// From batches of images to a net's input.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/images/image_stream.h"
#include "common/tensor/tensor.h"
#include "common/train/data_parallel.h"
#include "common/train/uploaded_batches.h"

namespace mariana {

// Images [begin, begin + rows of input) of a batch's pixels onto the device.
void FeedPixels(const uint8_t* pixels, int64_t begin, const Tensor& input);

// The same stream, of the rows alone that this rank's workers get of each batch, dealt out in whole
// groups of `group`. `workers` outlives the stream.
ImageStreamOptions OfThisRank(ImageStreamOptions options, const DataParallel* workers,
                              int64_t group);

// The training batches of one epoch for the workers of this rank. Step s of the run is batch s -
// epoch_begin of the stream. Thread-safe.
class ImageFeed : public BatchSource {
 public:
  ImageFeed(const ImageSource* images, const ImageStreamOptions& options, int64_t epoch_begin,
            DataParallel* workers);

  int64_t steps_in_epoch() const { return stream_.steps(); }
  int64_t Rows(int64_t step) override { return batches_.Rows(step); }
  DeviceBatch Take(int worker, int64_t step, int64_t begin, int64_t rows) override {
    return batches_.Take(worker, step, begin, rows);
  }
  void HasRoom(int worker, int64_t step) override { batches_.HasRoom(worker, step); }
  // The stages "read", "decode", "upload" (where there is one) and "train".
  std::vector<StageSeconds> Seconds() const;
  int64_t bad_images() const { return stream_.bad_images(); }

 private:
  std::shared_ptr<HostBatch> Next();

  ImageStream stream_;
  UploadedBatches batches_;  // after the stream, which it reads
};

}  // namespace mariana
