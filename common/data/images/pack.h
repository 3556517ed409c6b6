// Packing a set of images into tar shards in WebDataset's convention: KEY.jpg (the bytes as they
// are; raw pixels become KEY.png) and KEY.cls (the class) or KEY.target (a number).
//
// Threading: a free function; its callback runs on the caller's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/data/images/image_source.h"

namespace mariana {

struct PackOptions {
  std::string folder;               // must not exist, or be empty
  std::string name = "shard";       // NAME-000000.tar, ...
  int64_t shard_bytes = 256 << 20;  // a new shard begins when the next image would pass it
  bool shuffle = false;             // with the seed; false: the source's order
  uint64_t seed = 0;
  double max_bad_fraction = 0;  // of images that cannot be read: they are named and left out
  // Called after each image; false stops.
  std::function<bool(int64_t done, int64_t of)> progress;
};

struct PackResult {
  int64_t images = 0, shards = 0, bytes = 0;
  std::vector<std::string> warnings;
  bool stopped = false;  // nothing was left behind then
};

// Writes the shards, their indices (tar_index.h) and, where classes have names, classes.txt. The
// same source and options give the same bytes. The folder appears at the end, whole. Throws
// Error(kCannotCreate) when it holds something already, kIo when the disk is full.
PackResult PackImages(const ImageSource& images, const PackOptions& options);

// Raw pixels [height, width, 1 or 3] as a PNG file.
std::vector<uint8_t> EncodePng(const ImageBytes& raw);

}  // namespace mariana
