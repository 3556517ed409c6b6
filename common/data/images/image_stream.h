// ImageStream: the images of one epoch in batches of decoded, transformed samples.
//
// The order is a pure function of (seed, epoch) (image_plan.h), cut every batch_size images: step k
// is positions [k * batch_size, ...) of it, all batches but the last are full, and a stream can
// start at any step without reading what came before. Random draws of position p are those of
// sample first_sample + p of the run. So a batch's bits depend on neither threads nor workers.
//
// An image that cannot be read or decoded is told to BrokenImages, and its place is taken by the
// next record of the source (label and all) that can; so every epoch keeps its steps, and what
// stands in is a function of the data alone. With replace_broken = false (evaluation) its row is
// left out: a batch may then be short, and one without rows is not handed out.
//
// Stages: read (`readers` threads: storage) -> decode (`decoders` threads: decoding and
// transforming, each with a decoder of its own) -> the caller. At most `prefetch` batches are under
// way or ready; batches handed out belong to the caller, and their memory is used again when he
// lets go of them.
//
// Threading: Next belongs to one thread at a time; the other methods are thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/base/clock.h"
#include "common/base/shape.h"
#include "common/data/images/broken_images.h"
#include "common/data/images/image_source.h"
#include "common/data/images/transform.h"
#include "common/data/pipeline.h"

namespace mariana {

struct ImageBatch {
  int64_t step = 0;
  std::shared_ptr<void> input;  // host memory [rows, H, W, C], 64-byte aligned
  std::vector<int32_t> label;   // of sets with classes
  std::vector<float> target;    // of sets with targets
  std::vector<int64_t> record;  // of the source: what is shown
  std::vector<int64_t> sample;  // index in the run
  int64_t rows() const { return static_cast<int64_t>(record.size()); }
  const void* labels() const {
    return target.empty() ? static_cast<const void*>(label.data()) : target.data();
  }
};

// What a decode thread does with one record: writes [H, W, C] of the stream's type to `out`. Throws
// Error(kBadData) saying what is wrong with the bytes.
using DecodeImage =
    std::function<void(const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out)>;

struct ImageStreamOptions {
  Shape input;  // of one sample: [H, W, C]
  Dtype dtype = Dtype::kF32;
  std::function<DecodeImage()> make_decoder;  // called once by each decode thread
  BrokenImages* broken = nullptr;             // outlives the stream
  uint64_t seed = 0;
  int64_t epoch = 0;
  int64_t first_step = 0;    // of the epoch, to start at
  int64_t first_sample = 0;  // index in the run of the epoch's first sample
  int64_t batch_size = 256;
  int64_t shuffle_window = 1 << 14;  // images shuffled together
  bool shuffle = true;               // false: the source's own order
  bool replace_broken = true;
  int readers = 1, decoders = 1;  // threads
  int prefetch = 4;               // batches
  Clock* clock = nullptr;         // null: Clock::Real()
};

// Decoders that each own an ImageTransformer.
inline std::function<DecodeImage()> TransformImages(const ImageInputSpec& input,
                                                    const TransformSpec& transform, Dtype output) {
  return [input, transform, output]() -> DecodeImage {
    const auto own = std::make_shared<ImageTransformer>(input, transform, output);
    return [own](const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out) {
      own->Transform(bytes, seed, sample, out);
    };
  };
}

class ImageStream {
 public:
  // `source` outlives the stream.
  ImageStream(const ImageSource* source, const ImageStreamOptions& options);
  ~ImageStream();  // at any time

  // Batches in the epoch, counted from step 0 whatever first_step.
  int64_t steps() const;
  // Null at the end of the epoch. An exception in any stage comes out here.
  std::shared_ptr<ImageBatch> Next();
  // The stages "read", "decode" and "consume" (the caller: busy between its calls of Next).
  std::vector<StageSeconds> Seconds() const;
  // The most batches that had memory at once.
  int peak_batches() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mariana
