// Datum: the record of Caffe's LMDB sets, a protocol buffer message:
//   optional int32 channels = 1, height = 2, width = 3; bytes data = 4; int32 label = 5;
//   repeated float float_data = 6; optional bool encoded = 7.
// Raw data are planes [channels, height, width], colour channels in the order B, G, R.
//
// Thread-safe: pure functions.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/data/images/image_source.h"

namespace mariana {

// The message's fields; `data` and `float_data` point into it.
struct Datum {
  int64_t channels = 0, height = 0, width = 0, label = 0;
  std::string_view data;
  std::string_view float_data;  // packed, little-endian; or one field a value:
  std::vector<float> unpacked_floats;
  bool encoded = false;
};

// Strict: known fields of their wire types, unknown fields skipped, everything within `message`.
// Throws Error(kBadData) without saying where.
Datum ParseDatum(std::string_view message);

// Its image: encoded bytes, or raw pixels [height, width, channels] in R, G, B. Float data must be
// whole numbers from 0 to 255.
void DatumToImage(const Datum& datum, ImageBytes* image);

}  // namespace mariana
