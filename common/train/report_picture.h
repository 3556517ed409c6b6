// Pictures for reports: small images as PNG in data URIs, so that the page needs no other file.
// Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace mariana {

// "data:image/png;base64,..." of pixels [height, width, channels], 1 (grey) or 3 (RGB) channels.
std::string PngDataUri(const uint8_t* pixels, int64_t height, int64_t width, int64_t channels);

// A PNG file's bytes (ISO/IEC 15948): eight bits a sample, no filter, one IDAT chunk.
std::string EncodePng(const uint8_t* pixels, int64_t height, int64_t width, int64_t channels);

std::string Base64(const std::string& bytes);  // RFC 4648, padded

}  // namespace mariana
