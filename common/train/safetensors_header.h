// The JSON header of a safetensors file: text <-> entries. Used by SafetensorsFile and
// WriteSafetensors only. No shared state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/train/safetensors.h"

namespace mariana {

inline constexpr int64_t kMaxSafetensorsHeader = 100'000'000;  // the library's own limit, bytes

struct SafetensorsHeader {
  Metadata metadata;
  std::vector<SafetensorsFile::Entry> tensors;  // by offset
};

// Parses and checks everything: structure, dtypes, sizes, and that the tensors cover
// [0, data_bytes) without hole or overlap. Throws Error(kBadData) that begins with `file`.
SafetensorsHeader ParseSafetensorsHeader(std::string_view json, int64_t data_bytes,
                                         const std::string& file);

// The header's text for entries in file order, padded with spaces so that the data starts at a
// multiple of 8.
std::string PrintSafetensorsHeader(const SafetensorsHeader& header);

}  // namespace mariana
