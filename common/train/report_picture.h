// Pictures for reports as data URIs, so that the page needs no other file. Pure functions;
// thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mariana {

// "data:image/png;base64,..." of a PNG file's bytes.
std::string PngUri(const std::vector<uint8_t>& png);

std::string Base64(const std::vector<uint8_t>& bytes);  // RFC 4648, padded

}  // namespace mariana
