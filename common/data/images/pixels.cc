#include "common/data/images/pixels.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

namespace mariana {
namespace {

// What takes an upright place to the stored one: exchange x and y, then count from the far edge.
bool Exchanged(int orientation) { return orientation >= 5; }
bool FromRight(int orientation) {
  return orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
}
bool FromBottom(int orientation) {
  return orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
}

// Reads numbers of either byte order; 0 beyond the end.
struct Tiff {
  const uint8_t* bytes;
  size_t size;
  bool big_endian;

  uint32_t Number(size_t at, size_t n) const {
    if (at > size || size - at < n) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < n; ++i) {
      value = value << 8 | bytes[big_endian ? at + i : at + n - 1 - i];
    }
    return value;
  }
};

}  // namespace

void Pixels::Reset(const PixelBox& new_box, int64_t new_channels) {
  CHECK(new_box.width() > 0 && new_box.height() > 0 && new_channels > 0);
  box = new_box;
  channels = new_channels;
  bytes.resize(static_cast<size_t>(row_bytes() * box.height()) + kPixelSlack);
}

void ConvertChannels(int64_t channels, const Pixels& from, Pixels* to) {
  to->Reset(from.box, channels);
  const int64_t n = from.box.width() * from.box.height();
  const uint8_t* x = from.bytes.data();
  uint8_t* y = to->bytes.data();
  if (channels == 3) {
    for (int64_t i = 0; i < n; ++i) y[3 * i] = y[3 * i + 1] = y[3 * i + 2] = x[i];
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const int luma = 19595 * x[3 * i] + 38470 * x[3 * i + 1] + 7471 * x[3 * i + 2];
      y[i] = static_cast<uint8_t>((luma + 0x8000) >> 16);
    }
  }
}

int ParseOrientation(const uint8_t* tiff, size_t size) {
  constexpr uint32_t kOrientation = 0x0112, kShort = 3;
  if (size < 8 || (tiff[0] != 'I' && tiff[0] != 'M') || tiff[0] != tiff[1]) return 1;
  const Tiff t{tiff, size, tiff[0] == 'M'};
  if (t.Number(2, 2) != 42) return 1;
  const size_t directory = t.Number(4, 4);
  const size_t entries = t.Number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (entry >= size) break;
    if (t.Number(entry, 2) != kOrientation) continue;
    const uint32_t value = t.Number(entry + 8, 2);
    return t.Number(entry + 2, 2) == kShort && value >= 1 && value <= 8 ? static_cast<int>(value)
                                                                        : 1;
  }
  return 1;
}

PixelSize Turned(int orientation, PixelSize size) {
  if (Exchanged(orientation)) std::swap(size.width, size.height);
  return size;
}

PixelBox StoredBox(int orientation, const PixelBox& upright, PixelSize stored) {
  PixelBox box = upright;
  if (Exchanged(orientation)) box = {upright.top, upright.left, upright.bottom, upright.right};
  if (FromRight(orientation)) {
    box.left = stored.width - box.left;
    box.right = stored.width - box.right;
    std::swap(box.left, box.right);
  }
  if (FromBottom(orientation)) {
    box.top = stored.height - box.top;
    box.bottom = stored.height - box.bottom;
    std::swap(box.top, box.bottom);
  }
  return box;
}

void Turn(int orientation, const Pixels& from, PixelSize stored, Pixels* to) {
  PixelBox box = from.box;
  if (FromRight(orientation)) {
    box.left = stored.width - from.box.right;
    box.right = stored.width - from.box.left;
  }
  if (FromBottom(orientation)) {
    box.top = stored.height - from.box.bottom;
    box.bottom = stored.height - from.box.top;
  }
  if (Exchanged(orientation)) box = {box.top, box.left, box.bottom, box.right};
  to->Reset(box, from.channels);

  // Bytes from one pixel of an upright row to the next, and from one row to the next.
  const int64_t across = FromRight(orientation) ? -from.channels : from.channels;
  const int64_t down = FromBottom(orientation) ? -from.row_bytes() : from.row_bytes();
  const int64_t step = Exchanged(orientation) ? down : across;
  const int64_t row_step = Exchanged(orientation) ? across : down;
  const uint8_t* row = from.bytes.data();
  if (FromRight(orientation)) row += from.row_bytes() - from.channels;
  if (FromBottom(orientation)) row += (from.box.height() - 1) * from.row_bytes();
  uint8_t* y = to->bytes.data();
  for (int64_t r = 0; r < box.height(); ++r, row += row_step) {
    const uint8_t* x = row;
    for (int64_t c = 0; c < box.width(); ++c, x += step, y += from.channels) {
      std::copy_n(x, from.channels, y);
    }
  }
}

}  // namespace mariana
