// From an image file's bytes to a net's input in one pass over the pixels: decode at the scale that
// suits, crop, resize, flip, colour, normalise.
//
// Resizing is Pillow's antialiased bilinear (support grows with the scale) without its roundings in
// between: within 1 level of 255 of Pillow's result. Crops, flips and colour jitter are those of
// torchvision (jitter as on float tensors), drawn from counter-based random numbers. A JPEG is
// decoded at 1/2, 1/4 or 1/8 of its size where a random-resized crop stays at least as large as the
// output, and where for the other crops what is resized stays at least twice as large (there the
// result is within 0.5 levels of torchvision's on average, 8 at hard edges).
//
// Images of any extent fit any input: crop none resizes, center and random fill up with black what
// the image does not cover.
//
// Threading: an ImageTransformer belongs to one thread; it allocates only until its buffers have
// grown to the largest image.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/shape.h"
#include "common/config/fields.h"
#include "common/data/images/decode.h"
#include "common/data/images/image_source.h"

namespace mariana {

// Which part of the image is seen.
enum class CropKind {
  kNone,           // the whole, resized to the input's extent if it differs
  kCenter,         // shorter side to `resize`, then the middle
  kRandom,         // shorter side to `resize` if given, padded by `padding`, then anywhere (CIFAR)
  kRandomResized,  // area and aspect at random (Szegedy et al. 2015)
};

// `data.train_transform:`, `data.valid_transform:`.
struct TransformSpec {
  CropKind crop = CropKind::kNone;
  // Shorter side before the crop. 0: kCenter takes the input's larger extent / 0.875, kRandom the
  // image as it is.
  int64_t resize = 0;
  int64_t padding = 0;
  double min_area = 0.08, max_area = 1, min_aspect = 0.75, max_aspect = 4.0 / 3;
  bool flip = false;                                    // left-right, half of the time
  double brightness = 0, contrast = 0, saturation = 0;  // factors within 1 +- this; 0: none
  void Describe(Fields* f);
};

// `data.input:`: what the net sees.
struct ImageInputSpec {
  int64_t height = 224, width = 224, channels = 3;  // 1: grey, 3: RGB
  // By channel or one for all, of values in [0, 1]; default 0 and 1.
  std::vector<double> mean, std;
  void Describe(Fields* f);
};

class ImageTransformer {
 public:
  // output: kF32 or kBF16. Images of more than max_pixels are refused.
  ImageTransformer(const ImageInputSpec& input, const TransformSpec& transform, Dtype output,
                   int64_t max_pixels = kMaxImagePixels);
  ~ImageTransformer();
  ImageTransformer(const ImageTransformer&) = delete;
  ImageTransformer& operator=(const ImageTransformer&) = delete;

  // out: [height, width, channels] of the output type. Draws come from (seed, sample) alone.
  // Throws Error(kBadData) saying what is wrong with the bytes (the caller adds where).
  void Transform(const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mariana
