// What a transform does with one image, drawn before any pixel is looked at: which part is seen,
// at what size, mirrored or not, and the changes of its colours. Values; thread-safe.
//
// Draws follow torchvision's RandomResizedCrop, RandomCrop, RandomHorizontalFlip and ColorJitter:
// the same distributions, not the same numbers.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/random.h"
#include "common/data/images/pixels.h"
#include "common/data/images/transform.h"

namespace mariana {

// `box` of the upright image is resized to `full`; of that (which the input may exceed: black) the
// input begins at (x, y).
struct Placement {
  PixelBox box;
  PixelSize full;
  int64_t x = 0, y = 0;
};

enum class ColourChange : uint8_t { kBrightness, kContrast, kSaturation };

struct Augmentation {
  Placement placement;
  bool flip = false;
  // In the order drawn, the first `changes` of them.
  std::array<ColourChange, 3> change = {};
  std::array<float, 3> factor = {};
  int changes = 0;
};

Augmentation DrawAugmentation(const TransformSpec& transform, const ImageInputSpec& input,
                              PixelSize image, RandomSequence* random);

}  // namespace mariana
