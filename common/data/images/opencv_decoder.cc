// PNG, BMP and WebP through OpenCV. Sizes, orientation, completeness and checksums are read here
// first: OpenCV would allocate whatever a header asks for, honours orientation in some formats
// only, and writes what it thinks of damaged files to stderr.
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <string_view>

#include "common/base/error.h"
#include "common/data/images/decode.h"

namespace mariana {
namespace {

struct Header {
  PixelSize size;
  int orientation = 1;
};

uint32_t BigEndian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
}

uint32_t LittleEndian(const uint8_t* p, int n = 4) {
  uint32_t value = 0;
  for (int i = n; i-- > 0;) value = value << 8 | p[i];
  return value;
}

bool Is(const uint8_t* p, std::string_view name) {
  return std::memcmp(p, name.data(), name.size()) == 0;
}

bool IsPng(const uint8_t* p, size_t size) {
  return size >= 33 && Is(p, std::string_view("\x89PNG\r\n\x1A\n", 8)) && Is(p + 12, "IHDR");
}

[[noreturn]] void Truncated(const char* format) {
  throw Fail(ExitCode::kBadData, "truncated ", format, " image");
}

// Chunks: length, name, data, checksum of name and data.
Header ReadPng(const uint8_t* p, size_t size) {
  Header h;
  h.size = {BigEndian(p + 16), BigEndian(p + 20)};
  for (size_t at = 8;;) {
    if (size - at < 12) Truncated("PNG");
    const size_t length = BigEndian(p + at);
    if (length > size - at - 12) Truncated("PNG");
    const uint8_t* name = p + at + 4;
    if (crc32(0, name, static_cast<uInt>(length + 4)) != BigEndian(name + 4 + length)) {
      throw Error(ExitCode::kBadData, "damaged PNG image: a checksum is wrong");
    }
    if (Is(name, "IEND")) return h;
    if (Is(name, "eXIf")) h.orientation = ParseOrientation(name + 4, length);
    at += length + 12;
  }
}

bool IsBmp(const uint8_t* p, size_t size) { return size >= 26 && Is(p, "BM"); }

Header ReadBmp(const uint8_t* p, size_t size) {
  Header h;
  int64_t bits;
  bool packed = false;
  if (LittleEndian(p + 14) == 12) {  // OS/2's first header
    h.size = {LittleEndian(p + 18, 2), LittleEndian(p + 20, 2)};
    bits = LittleEndian(p + 24, 2);
  } else {
    if (size < 54) Truncated("BMP");
    const auto height = static_cast<int32_t>(LittleEndian(p + 22));  // < 0: from the top
    h.size = {static_cast<int32_t>(LittleEndian(p + 18)), std::abs(int64_t{height})};
    bits = LittleEndian(p + 28, 2);
    packed = LittleEndian(p + 30) == 1 || LittleEndian(p + 30) == 2;  // run lengths
  }
  const int64_t row_bytes = (h.size.width * bits + 31) / 32 * 4;
  const int64_t data = static_cast<int64_t>(size) - LittleEndian(p + 10);
  if (!packed && data / std::max<int64_t>(row_bytes, 1) < h.size.height) Truncated("BMP");
  return h;
}

bool IsWebP(const uint8_t* p, size_t size) {
  return size >= 30 && Is(p, "RIFF") && Is(p + 8, "WEBPVP8");
}

Header ReadWebP(const uint8_t* p, size_t size) {
  Header h;
  const uint8_t* data = p + 20;
  const bool lossy = p[15] == ' ', lossless = p[15] == 'L';
  if ((lossy && !Is(data + 3, "\x9D\x01\x2A")) || (lossless && data[0] != 0x2F)) {
    throw Error(ExitCode::kBadData, "a damaged WebP image");
  }
  if (lossy) {
    h.size = {LittleEndian(data + 6, 2) & 0x3FFF, LittleEndian(data + 8, 2) & 0x3FFF};
  } else if (lossless) {
    const uint32_t bits = LittleEndian(data + 1);
    h.size = {(bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1};
  } else {
    h.size = {LittleEndian(data + 4, 3) + 1, LittleEndian(data + 7, 3) + 1};
  }
  if (LittleEndian(p + 4) > size - 8) Truncated("WebP");
  // Chunks: name, length, data, filled up to an even length.
  bool pixels = lossy || lossless;
  for (size_t at = 12; size > at && size - at >= 8;) {
    const size_t length = LittleEndian(p + at + 4);
    if (length > size - at - 8) break;
    if (Is(p + at, "VP8 ") || Is(p + at, "VP8L")) pixels = true;
    if (Is(p + at, "EXIF")) {
      const uint8_t* exif = p + at + 8;
      const size_t name = length >= 6 && Is(exif, std::string_view("Exif\0\0", 6)) ? 6 : 0;
      h.orientation = ParseOrientation(exif + name, length - name);
    }
    at += 8 + length + length % 2;
  }
  if (!pixels) throw Error(ExitCode::kBadData, "a WebP image without a still picture");
  return h;
}

Header ReadHeader(const uint8_t* bytes, size_t size) {
  if (IsPng(bytes, size)) return ReadPng(bytes, size);
  if (IsBmp(bytes, size)) return ReadBmp(bytes, size);
  if (IsWebP(bytes, size)) return ReadWebP(bytes, size);
  throw Error(ExitCode::kBadData,
              size == 0 ? "an empty file" : "not a JPEG, PNG, BMP or WebP image");
}

class OpenCvDecoder : public ImageDecoder {
 public:
  explicit OpenCvDecoder(int64_t max_pixels) : max_pixels_(max_pixels) {}

  void Open(const uint8_t* bytes, size_t size) override {
    header_ = ReadHeader(bytes, size);
    CheckImageSize(header_.size, max_pixels_);
    if (size > static_cast<size_t>(std::numeric_limits<int>::max())) {
      throw Error(ExitCode::kBadData, "a file of more than 2 GiB");
    }
    bytes_ = bytes;
    bytes_size_ = static_cast<int>(size);
  }

  PixelSize size() const override { return header_.size; }
  int orientation() const override { return header_.orientation; }
  bool scales() const override { return false; }

  void Decode(int, const PixelBox&, int64_t channels, Pixels* pixels) override {
    const cv::Mat bgr = DecodeBgr();
    if (bgr.empty() || bgr.type() != CV_8UC3 || bgr.cols != header_.size.width ||
        bgr.rows != header_.size.height) {
      throw Error(ExitCode::kBadData, "a damaged image");
    }
    Pixels* rgb = channels == 3 ? pixels : &rgb_;
    rgb->Reset({0, 0, bgr.cols, bgr.rows}, 3);
    for (int y = 0; y < bgr.rows; ++y) {
      const uint8_t* from = bgr.ptr(y);
      uint8_t* to = rgb->row(y);
      for (int x = 0; x < 3 * bgr.cols; x += 3) {
        to[x] = from[x + 2];
        to[x + 1] = from[x + 1];
        to[x + 2] = from[x];
      }
    }
    if (channels == 1) ConvertChannels(1, rgb_, pixels);
  }

 private:
  cv::Mat DecodeBgr() const {
    try {
      const cv::Mat bytes(1, bytes_size_, CV_8U, const_cast<uint8_t*>(bytes_));
      return cv::imdecode(bytes, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
    } catch (const cv::Exception& e) {
      throw Fail(ExitCode::kBadData, "damaged image: ", e.err);
    }
  }

  const int64_t max_pixels_;
  Header header_;
  const uint8_t* bytes_ = nullptr;
  int bytes_size_ = 0;
  Pixels rgb_;
};

}  // namespace

std::unique_ptr<ImageDecoder> MakeOpenCvDecoder(int64_t max_pixels) {
  return std::make_unique<OpenCvDecoder>(max_pixels);
}

}  // namespace mariana
