// Pixels: an image, or a part of one, as bytes in memory; and EXIF's eight orientations, which say
// how stored pixels are to be turned to stand upright. Values; thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mariana {

struct PixelSize {
  int64_t width = 0, height = 0;
};

// [left, right) x [top, bottom), in pixels.
struct PixelBox {
  int64_t left = 0, top = 0, right = 0, bottom = 0;
  int64_t width() const { return right - left; }
  int64_t height() const { return bottom - top; }
};

// Bytes behind the last pixel that vector code may read.
constexpr size_t kPixelSlack = 64;

// [box.height, box.width, channels]: channels 1 (grey) or 3 (R, G, B).
struct Pixels {
  PixelBox box;  // of the whole image
  int64_t channels = 0;
  std::vector<uint8_t> bytes;  // and at least kPixelSlack more

  int64_t row_bytes() const { return box.width() * channels; }
  uint8_t* row(int64_t y) { return bytes.data() + (y - box.top) * row_bytes(); }
  const uint8_t* row(int64_t y) const { return bytes.data() + (y - box.top) * row_bytes(); }
  // Keeps the memory it has; what it held is lost.
  void Reset(const PixelBox& new_box, int64_t new_channels);
};

// Luma as in ITU-R 601 and Pillow: (19595 R + 38470 G + 7471 B) / 65536; or three times the grey.
void ConvertChannels(int64_t channels, const Pixels& from, Pixels* to);

// ---- EXIF orientation, 1 (as stored) to 8

// Of a TIFF block (what follows "Exif\0\0" in a JPEG): tag 0x0112 of its first directory. 1 when
// there is none or it makes no sense.
int ParseOrientation(const uint8_t* tiff, size_t size);
// Of a stored image, upright; and the other way round.
PixelSize Turned(int orientation, PixelSize size);
// The stored pixels that a box of the upright image shows.
PixelBox StoredBox(int orientation, const PixelBox& upright, PixelSize stored);
// The part of an image that `from` is, turned upright; its box is in the upright image.
void Turn(int orientation, const Pixels& from, PixelSize stored, Pixels* to);

}  // namespace mariana
