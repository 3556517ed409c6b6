// Image files from arbitrary bytes, through every kind of crop: each becomes numbers between those
// of black and white, or is refused with an Error. Images of more than 2^20 pixels are refused, so
// that memory and time stay small.
//
// The first byte chooses the crop, grey or colour, and whether the rest is taken for raw pixels.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "common/base/error.h"
#include "common/data/images/transform.h"

namespace mariana {
namespace {

constexpr int64_t kSide = 24;

std::unique_ptr<ImageTransformer> Make(int mode) {
  ImageInputSpec input;
  input.height = kSide;
  input.width = kSide;
  input.channels = (mode & 4) != 0 ? 1 : 3;
  TransformSpec transform;
  transform.crop = static_cast<CropKind>(mode & 3);
  transform.padding = transform.crop == CropKind::kRandom ? 4 : 0;
  transform.flip = true;
  if (transform.crop == CropKind::kRandomResized) {
    transform.brightness = transform.contrast = transform.saturation = 0.5;
  }
  return std::make_unique<ImageTransformer>(input, transform, Dtype::kF32, 1 << 20);
}

void Consume(int mode, ImageBytes* image, int64_t sample) {
  static std::unique_ptr<ImageTransformer> transformers[8];  // as in a run: one for many images
  auto& transformer = transformers[mode & 7];
  if (transformer == nullptr) transformer = Make(mode & 7);
  if ((mode & 8) != 0 && image->bytes.size() >= 3) {
    image->width = image->bytes[0];
    image->height = image->bytes[1];
    image->channels = image->bytes[2];
    image->bytes.erase(image->bytes.begin(), image->bytes.begin() + 3);
  }
  std::vector<float> out(kSide * kSide * 3);
  transformer->Transform(*image, 1, sample, out.data());
  for (const float v : out) {
    if (!(v >= 0 && v < 1.0001f)) abort();
  }
}

}  // namespace
}  // namespace mariana

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  mariana::ImageBytes image;
  image.bytes.assign(data + 1, data + size);
  try {
    mariana::Consume(data[0], &image, static_cast<int64_t>(size));
  } catch (const mariana::Error&) {
  }
  return 0;
}
