// IDX, the format of MNIST's files (yann.lecun.com/exdb/mnist): magic 0 0 TYPE RANK, RANK extents
// and the values, all big-endian. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/data/byte_source.h"

namespace mariana {

struct IdxArray {
  std::vector<int64_t> extents;  // each at least 1, except the first
  std::vector<uint8_t> bytes;    // unsigned bytes; of other types the whole numbers 0 to 255
};

// `bytes` is the whole uncompressed file; at most max_rank extents. Memory is bounded by what
// there is to read. Throws Error(kBadData) naming `path`.
IdxArray ReadIdx(ByteSource* bytes, const std::string& path, int max_rank);

}  // namespace mariana
