// PNG, BMP and WebP through OpenCV. Sizes and orientation are read here first: OpenCV would
// allocate whatever a header asks for, and it honours orientation in some formats only.
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

Header ReadPng(const uint8_t* p, size_t size) {
  Header h;
  h.size = {BigEndian(p + 16), BigEndian(p + 20)};
  // Chunks: length, name, data, checksum.
  for (size_t at = 8; size - at >= 12;) {
    const size_t length = BigEndian(p + at);
    if (length > size - at - 12 || Is(p + at + 4, "IDAT")) break;
    if (Is(p + at + 4, "eXIf")) h.orientation = ParseOrientation(p + at + 8, length);
    at += length + 12;
  }
  return h;
}

bool IsBmp(const uint8_t* p, size_t size) { return size >= 26 && Is(p, "BM"); }

Header ReadBmp(const uint8_t* p) {
  Header h;
  if (LittleEndian(p + 14) == 12) {  // OS/2's first header
    h.size = {LittleEndian(p + 18, 2), LittleEndian(p + 20, 2)};
    return h;
  }
  const auto height = static_cast<int32_t>(LittleEndian(p + 22));  // < 0: from the top
  h.size = {static_cast<int32_t>(LittleEndian(p + 18)), std::abs(int64_t{height})};
  return h;
}

bool IsWebP(const uint8_t* p, size_t size) {
  return size >= 30 && Is(p, "RIFF") && Is(p + 8, "WEBPVP8");
}

Header ReadWebP(const uint8_t* p, size_t size) {
  Header h;
  const uint8_t* data = p + 20;
  if (p[15] == ' ') {
    h.size = {LittleEndian(data + 6, 2) & 0x3FFF, LittleEndian(data + 8, 2) & 0x3FFF};
  } else if (p[15] == 'L') {
    const uint32_t bits = LittleEndian(data + 1);
    h.size = {(bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1};
  } else {
    h.size = {LittleEndian(data + 4, 3) + 1, LittleEndian(data + 7, 3) + 1};
  }
  // Chunks: name, length, data, filled up to an even length.
  for (size_t at = 12; size > at && size - at >= 8;) {
    const size_t length = LittleEndian(p + at + 4);
    if (length > size - at - 8) break;
    if (Is(p + at, "EXIF")) {
      const uint8_t* exif = p + at + 8;
      const size_t name = length >= 6 && Is(exif, std::string_view("Exif\0\0", 6)) ? 6 : 0;
      h.orientation = ParseOrientation(exif + name, length - name);
    }
    at += 8 + length + length % 2;
  }
  return h;
}

Header ReadHeader(const uint8_t* bytes, size_t size) {
  if (IsPng(bytes, size)) return ReadPng(bytes, size);
  if (IsBmp(bytes, size)) return ReadBmp(bytes);
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
      throw Error(ExitCode::kBadData, "damaged or truncated image");
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
