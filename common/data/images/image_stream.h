// ImageStream: the images of one epoch in batches of decoded, transformed samples.
//
// The order is a pure function of (seed, epoch) (image_plan.h), cut every batch_size images: step k
// is positions [k * batch_size, ...) of it, all batches but the last are full, and a stream can
// start at any step without reading what came before. The random draws of row r of step k are
// those of sample (epoch * steps + k) * batch_size + r of the run. So a batch's bits depend on
// neither threads nor workers.
//
// An image that cannot be read or decoded is told to BrokenImages. Shuffled (training), its place
// is taken by the next record of the source, label and all, that can: every epoch keeps its steps,
// and what stands in is a function of the data alone. In order (evaluation), its row is left out:
// a batch may then be short, and one without rows is not handed out.
//
// A process that needs only some rows of each batch says so (`part`); no other image is read.
//
// Stages: read (`io_threads`: storage) -> decode (`cpu_threads`: decoding and transforming, each
// with a decoder of its own) -> the caller. At most `prefetch` batches are under way or ready;
// batches handed out belong to the caller, and their memory is used again when he lets go of them.
//
// Threading: Next belongs to one thread at a time; the other methods are thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/shape.h"
#include "common/data/images/broken_images.h"
#include "common/data/images/image_source.h"
#include "common/data/images/transform.h"
#include "common/data/pipeline.h"

namespace mariana {

// Bytes at a 64-byte boundary. Copying shares them.
class PixelBytes {
 public:
  PixelBytes() = default;
  PixelBytes(std::shared_ptr<uint8_t> bytes, size_t size) : bytes_(std::move(bytes)), size_(size) {}
  uint8_t* data() const { return bytes_.get(); }
  size_t size() const { return size_; }
  // New memory of this size, not initialised.
  void resize(size_t size);
  // Keeps the bytes alive.
  const std::shared_ptr<uint8_t>& shared() const { return bytes_; }

 private:
  std::shared_ptr<uint8_t> bytes_;
  size_t size_ = 0;
};

struct ImageBatch {
  int64_t step = 0;
  int64_t first_row = 0;        // of the whole batch, before rows were left out
  int64_t whole_rows = 0;       // of the whole batch, likewise
  int64_t first_sample = 0;     // index in the run of the whole batch's first row, likewise
  PixelBytes pixels;            // [rows, height, width, channels] of the stream's type
  std::vector<int32_t> label;   // of sets with classes
  std::vector<float> target;    // of sets with targets
  std::vector<int64_t> image;   // what is shown: record of the source
  std::vector<int64_t> sample;  // index in the run
  int64_t rows() const { return static_cast<int64_t>(image.size()); }
  // The first of these rows that is not before this one of the whole batch.
  int64_t RowOf(int64_t whole_row) const {
    return std::lower_bound(sample.begin(), sample.end(), first_sample + whole_row) -
           sample.begin();
  }
};

// What a decode thread does with one record: writes [height, width, channels] of the stream's type
// to `out`. Throws Error(kBadData) saying what is wrong with the bytes.
using DecodeImage =
    std::function<void(const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out)>;

struct ImageStreamOptions {
  ImageInputSpec input;
  TransformSpec transform;
  Dtype dtype = Dtype::kF32;
  // Called once by each decode thread; null: an ImageTransformer.
  std::function<DecodeImage()> make_decoder;
  BrokenImages* broken = nullptr;  // of the run; null: of this stream, which only logs
  double max_bad_fraction = 0;     // in that case
  uint64_t seed = 0;
  int64_t epoch = 0;
  int64_t first_step = 0;  // of the epoch, to start at
  int64_t batch_size = 256;
  // The rows [first, second) to read of a batch of so many; may be none. Null: all.
  std::function<std::pair<int64_t, int64_t>(int64_t rows)> part;
  int64_t shuffle_window = 1 << 14;  // images shuffled together
  bool shuffle = true;               // false: the source's own order, for evaluation
  int io_threads = 1, cpu_threads = 1;
  int prefetch = 3;        // batches
  Clock* clock = nullptr;  // null: Clock::Real()
};

class ImageStream {
 public:
  // `source` outlives the stream.
  ImageStream(const ImageSource* source, const ImageStreamOptions& options);
  ~ImageStream();  // at any time

  // Batches in the epoch, counted from step 0 whatever first_step.
  int64_t steps() const;
  // False at the end of the epoch. An exception in any stage comes out here. With a `part`, every
  // step's batch is handed out.
  bool Next(ImageBatch* batch);
  // The stages "read", "decode" and "consume" (the caller: busy between its calls of Next).
  std::vector<StageSeconds> Seconds() const;
  // Different images found broken, by this stream or, with ImageStreamOptions::broken, the run.
  int64_t bad_images() const;
  // The most batches that had memory at once.
  int peak_batches() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mariana
