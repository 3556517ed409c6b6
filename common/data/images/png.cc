// A PNG file of 8-bit grey or RGB pixels (W3C PNG, 3rd edition), compressed by zlib.
#include <glog/logging.h>
#include <zlib.h>

#include <string>

#include "common/base/error.h"
#include "common/data/images/pack.h"

namespace mariana {
namespace {

void Append32(uint32_t v, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) *out += static_cast<char>(v >> shift & 0xFF);
}

void AppendChunk(const char* type, const std::string& data, std::string* png) {
  Append32(static_cast<uint32_t>(data.size()), png);
  const size_t from = png->size();
  *png += type;
  *png += data;
  const auto* bytes = reinterpret_cast<const Bytef*>(png->data() + from);
  Append32(static_cast<uint32_t>(crc32_z(0, bytes, png->size() - from)), png);
}

std::string Deflate(const std::string& data) {
  uLongf size = compressBound(data.size());
  std::string out(size, '\0');
  CHECK_EQ(compress2(reinterpret_cast<Bytef*>(out.data()), &size,
                     reinterpret_cast<const Bytef*>(data.data()), data.size(), 6),
           Z_OK);
  out.resize(size);
  return out;
}

}  // namespace

std::vector<uint8_t> EncodePng(const ImageBytes& raw) {
  CHECK(raw.channels == 1 || raw.channels == 3);
  const size_t line = static_cast<size_t>(raw.width) * static_cast<size_t>(raw.channels);
  CHECK_EQ(raw.bytes.size(), line * static_cast<size_t>(raw.height));
  std::string lines;  // each after the byte 0: not filtered
  for (int y = 0; y < raw.height; ++y) {
    lines += '\0';
    lines.append(reinterpret_cast<const char*>(raw.bytes.data()) + static_cast<size_t>(y) * line,
                 line);
  }
  std::string header;
  Append32(static_cast<uint32_t>(raw.width), &header);
  Append32(static_cast<uint32_t>(raw.height), &header);
  header += '\x08';  // bits
  header += raw.channels == 1 ? '\0' : '\2';
  header.append(3, '\0');  // deflate, adaptive filters, not interlaced
  std::string png = "\x89PNG\r\n\x1A\n";
  AppendChunk("IHDR", header, &png);
  AppendChunk("IDAT", Deflate(lines), &png);
  AppendChunk("IEND", "", &png);
  return {png.begin(), png.end()};
}

}  // namespace mariana
