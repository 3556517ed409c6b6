#include "common/data/images/augmentation.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mariana {
namespace {

// Python's round: halves to even.
int64_t Round(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

double Between(double low, double high, RandomSequence* random) {
  return low + (high - low) * random->Uniform();
}

int64_t DrawFrom(int64_t first, int64_t last, RandomSequence* random) {
  return first + static_cast<int64_t>(random->Below(static_cast<uint64_t>(last - first + 1)));
}

// The shorter side at `shorter` pixels.
PixelSize Resized(PixelSize image, int64_t shorter) {
  const int64_t longer =
      shorter * std::max(image.width, image.height) / std::min(image.width, image.height);
  return image.width <= image.height ? PixelSize{shorter, longer} : PixelSize{longer, shorter};
}

Placement Center(const TransformSpec& t, const ImageInputSpec& input, PixelSize image) {
  int64_t shorter = t.resize;
  if (shorter == 0)
    shorter = Round(static_cast<double>(std::max(input.height, input.width)) / 0.875);
  Placement p;
  p.full = Resized(image, shorter);
  // torchvision pads what is too small before it crops.
  const auto begin = [](int64_t full, int64_t seen) {
    return full < seen ? -((seen - full) / 2) : Round((full - seen) / 2.0);
  };
  p.x = begin(p.full.width, input.width);
  p.y = begin(p.full.height, input.height);
  return p;
}

Placement Random(const TransformSpec& t, const ImageInputSpec& input, PixelSize image,
                 RandomSequence* random) {
  Placement p;
  p.full = t.resize > 0 ? Resized(image, t.resize) : image;
  const auto begin = [&](int64_t full, int64_t seen) {
    const int64_t first = -t.padding, last = full + t.padding - seen;
    return DrawFrom(std::min(first, last), std::max(first, last), random);
  };
  p.y = begin(p.full.height, input.height);
  p.x = begin(p.full.width, input.width);
  return p;
}

// The largest box in the middle whose aspect is allowed.
PixelSize Fallback(const TransformSpec& t, PixelSize image) {
  const double aspect = static_cast<double>(image.width) / static_cast<double>(image.height);
  PixelSize crop = image;
  if (aspect < t.min_aspect) {
    crop.height = std::max<int64_t>(Round(static_cast<double>(crop.width) / t.min_aspect), 1);
  } else if (aspect > t.max_aspect) {
    crop.width = std::max<int64_t>(Round(static_cast<double>(crop.height) * t.max_aspect), 1);
  }
  return {std::min(crop.width, image.width), std::min(crop.height, image.height)};
}

PixelBox RandomResized(const TransformSpec& t, PixelSize image, RandomSequence* random) {
  const double area = static_cast<double>(image.width) * static_cast<double>(image.height);
  const double low = std::log(t.min_aspect), high = std::log(t.max_aspect);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * Between(t.min_area, t.max_area, random);
    const double aspect = std::exp(Between(low, high, random));
    const int64_t width = Round(std::sqrt(target * aspect));
    const int64_t height = Round(std::sqrt(target / aspect));
    if (width < 1 || width > image.width || height < 1 || height > image.height) continue;
    const int64_t top = DrawFrom(0, image.height - height, random);
    const int64_t left = DrawFrom(0, image.width - width, random);
    return {left, top, left + width, top + height};
  }
  const PixelSize crop = Fallback(t, image);
  const int64_t left = (image.width - crop.width) / 2, top = (image.height - crop.height) / 2;
  return {left, top, left + crop.width, top + crop.height};
}

Placement Place(const TransformSpec& t, const ImageInputSpec& input, PixelSize image,
                RandomSequence* random) {
  Placement p;
  p.full = {input.width, input.height};
  if (t.crop == CropKind::kCenter) p = Center(t, input, image);
  if (t.crop == CropKind::kRandom) p = Random(t, input, image, random);
  p.box = {0, 0, image.width, image.height};
  if (t.crop == CropKind::kRandomResized) p.box = RandomResized(t, image, random);
  return p;
}

void DrawColours(const TransformSpec& t, Augmentation* a, RandomSequence* random) {
  const std::pair<ColourChange, double> all[] = {{ColourChange::kBrightness, t.brightness},
                                                 {ColourChange::kContrast, t.contrast},
                                                 {ColourChange::kSaturation, t.saturation}};
  for (const auto& [change, range] : all) {
    if (range <= 0) continue;
    const double low = std::max(0.0, 1 - range), high = 1 + range;
    a->change[a->changes] = change;
    a->factor[a->changes++] = static_cast<float>(Between(low, high, random));
  }
  for (int i = a->changes - 1; i > 0; --i) {
    const auto other = static_cast<int>(DrawFrom(0, i, random));
    std::swap(a->change[i], a->change[other]);
    std::swap(a->factor[i], a->factor[other]);
  }
}

}  // namespace

Augmentation DrawAugmentation(const TransformSpec& transform, const ImageInputSpec& input,
                              PixelSize image, RandomSequence* random) {
  Augmentation a;
  a.placement = Place(transform, input, image, random);
  a.flip = transform.flip && random->Uniform() < 0.5f;
  DrawColours(transform, &a, random);
  return a;
}

}  // namespace mariana
