#include "common/train/report_picture.h"

#include <glog/logging.h>
#include <zlib.h>

namespace mariana {
namespace {

void AppendBigEndian(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

void AppendChunk(const std::string& type, const std::string& data, std::string* out) {
  AppendBigEndian(static_cast<uint32_t>(data.size()), out);
  const std::string checked = type + data;
  *out += checked;
  const auto* bytes = reinterpret_cast<const Bytef*>(checked.data());
  AppendBigEndian(static_cast<uint32_t>(crc32(0, bytes, static_cast<uInt>(checked.size()))), out);
}

std::string Deflate(const std::string& plain) {
  uLongf size = compressBound(plain.size());
  std::string packed(size, '\0');
  CHECK_EQ(compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
                     reinterpret_cast<const Bytef*>(plain.data()), plain.size(), 9),
           Z_OK);
  packed.resize(size);
  return packed;
}

}  // namespace

std::string EncodePng(const uint8_t* pixels, int64_t height, int64_t width, int64_t channels) {
  CHECK(channels == 1 || channels == 3) << channels;
  std::string header;
  AppendBigEndian(static_cast<uint32_t>(width), &header);
  AppendBigEndian(static_cast<uint32_t>(height), &header);
  header += {8, channels == 1 ? '\0' : '\2', 0, 0, 0};  // depth, colour, deflate, filters, order
  std::string lines;
  for (int64_t y = 0; y < height; ++y) {
    lines += '\0';  // not filtered
    lines.append(reinterpret_cast<const char*>(pixels) + y * width * channels,
                 static_cast<size_t>(width * channels));
  }
  std::string png = "\x89PNG\r\n\x1a\n";
  AppendChunk("IHDR", header, &png);
  AppendChunk("IDAT", Deflate(lines), &png);
  AppendChunk("IEND", "", &png);
  return png;
}

std::string Base64(const std::string& bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = i; k < i + 3; ++k) {
      group = group << 8 | (k < bytes.size() ? static_cast<uint8_t>(bytes[k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

std::string PngDataUri(const uint8_t* pixels, int64_t height, int64_t width, int64_t channels) {
  return "data:image/png;base64," + Base64(EncodePng(pixels, height, width, channels));
}

}  // namespace mariana
