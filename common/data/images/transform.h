// From an image file's bytes to a net's input in one pass over the pixels: decode at the scale that
// suits, crop, resize, flip, colour, normalise.
//
// Resizing is Pillow's antialiased bilinear (support grows with the scale); random-resized crop and
// colour jitter are torchvision's by their documentation; decoding uses the JPEG's scaled inverse
// DCT (libjpeg-turbo) where the crop stays at least as large as the output.
//
// Threading: an ImageTransformer belongs to one thread; it allocates only until its buffers have
// grown to the largest image.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/shape.h"
#include "common/config/fields.h"
#include "common/data/images/image_source.h"

namespace mariana {

// Which part of the image is seen.
enum class CropKind {
  kNone,           // the whole, resized to the input's extent if it differs
  kCenter,         // shorter side to `resize`, then the middle
  kRandom,         // padded by `padding`, then anywhere (CIFAR)
  kRandomResized,  // area and aspect at random (Szegedy et al. 2015)
};

// `data.train_transform:`, `data.valid_transform:`.
struct TransformSpec {
  CropKind crop = CropKind::kNone;
  int64_t resize = 0;  // kCenter: shorter side; 0: the input's extent / 0.875
  int64_t padding = 0;
  double min_area = 0.08, max_area = 1, min_aspect = 0.75, max_aspect = 4.0 / 3;
  bool flip = false;  // left-right, half of the time
  double brightness = 0, contrast = 0, saturation = 0;  // factors within 1 +- this; 0: none
  void Describe(Fields* f);
};

// `data.input:`: what the net sees.
struct ImageInputSpec {
  int64_t height = 224, width = 224, channels = 3;  // 1: grey, 3: RGB
  std::vector<double> mean, std;  // by channel, of values in [0, 1]; default 0 and 1
  void Describe(Fields* f);
};

class ImageTransformer {
 public:
  ImageTransformer(const ImageInputSpec& input, const TransformSpec& transform, Dtype output);
  ~ImageTransformer();
  ImageTransformer(const ImageTransformer&) = delete;
  ImageTransformer& operator=(const ImageTransformer&) = delete;

  // out: [height, width, channels] of the output type. Draws come from (seed, sample) alone.
  // Throws Error(kBadData) saying what is wrong with the bytes (the caller adds where).
  void Transform(const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out);

 private:
  class Impl;
  Impl* impl_;
};

}  // namespace mariana
