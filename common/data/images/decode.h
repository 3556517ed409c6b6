// Encoded images to pixels. JPEG goes through libjpeg-turbo, which can decode at 1/2, 1/4 and 1/8
// of the size and leave out what lies outside of a box; PNG, BMP and WebP go through OpenCV.
//
// JPEGs come out as Pillow's do (accurate inverse DCT, smooth chroma upsampling), CMYK taken for
// Adobe's inverted one; grey ones, and the luma of colour ones, without detour. Of the other
// formats 16-bit samples keep their upper 8 bits, and an alpha channel is dropped (as Pillow's
// convert("RGB") does). A JPEG that libjpeg warns about is an error where the warning means damaged
// pixels, and so is one without an end-of-image marker (truncated), whatever part of it is asked
// for; stray bytes between markers are not.
//
// Threading: a decoder belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>

#include "common/data/images/pixels.h"

namespace mariana {

// The largest image that is decoded, in pixels, unless told otherwise: 402 MB of RGB.
constexpr int64_t kMaxImagePixels = int64_t{1} << 27;

class ImageDecoder {
 public:
  virtual ~ImageDecoder() = default;

  // Reads the header. The bytes must stay until the last Decode. Throws Error(kBadData), as Decode.
  virtual void Open(const uint8_t* bytes, size_t size) = 0;
  virtual PixelSize size() const = 0;  // as stored
  virtual int orientation() const = 0;
  // Whether sizes other than the whole (denominator 1) can be decoded.
  virtual bool scales() const = 0;
  // `box` of the image at 1 / denominator of its size (1, 2, 4 or 8; extents rounded up), as
  // stored. The result's box may be larger. Once after each Open.
  virtual void Decode(int denominator, const PixelBox& box, int64_t channels, Pixels* pixels) = 0;
};

bool IsJpeg(const uint8_t* bytes, size_t size);
std::unique_ptr<ImageDecoder> MakeJpegDecoder(int64_t max_pixels);
std::unique_ptr<ImageDecoder> MakeOpenCvDecoder(int64_t max_pixels);  // PNG, BMP, WebP

// Error(kBadData) when an image of this size is empty or too large.
void CheckImageSize(PixelSize size, int64_t max_pixels);

}  // namespace mariana
