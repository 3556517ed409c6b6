// OpenZstd: a ByteSource that decompresses a zstd file (any number of frames).
#pragma once

#include <memory>
#include <string>

#include "common/data/byte_source.h"

namespace mariana {

// Errors (cannot open, broken, cut short) are Error(kBadData). Windows up to 128 MiB (zstd's
// --long without a number) are accepted.
std::unique_ptr<ByteSource> OpenZstd(const std::string& path);

}  // namespace mariana
