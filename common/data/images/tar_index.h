// TarIndex: where the samples of a WebDataset shard lie. A sample is a run of files that share
// their path up to the first dot of its last part: KEY.jpg, KEY.cls, ... Made by scanning the
// archive's headers, kept in a file, and taken from there while the archive has the same size and
// modification time.
//
// Thread-safe: free functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/data/images/tar_reader.h"

namespace mariana {

struct TarSample {
  std::string key;
  int64_t offset = 0, size = 0;  // of the image; size 0: the sample has none
  std::string label;             // contents of KEY.cls, trimmed; empty without one
  std::string target;            // contents of KEY.target
};

struct TarIndex {
  std::vector<TarSample> samples;
  std::string problem;  // why it ends before the archive does; empty for a whole one
};

// Scans an archive of `size` bytes. A broken one gives the samples up to there, and `problem`.
TarIndex ScanTar(const std::string& path, int64_t size, const TarReader::ReadAt& read_at);

// The index of the archive at `path`: from its file if that is valid, else by scanning, and then
// written if it can be. The file lies in `folder`, or beside the archive when that is empty.
TarIndex LoadTarIndex(const std::string& path, const std::string& folder);

// The file's bytes, for an archive of that size and time; and back: false for any other bytes.
std::string EncodeTarIndex(const TarIndex& index, int64_t size, int64_t mtime_ns);
bool DecodeTarIndex(std::string_view bytes, int64_t size, int64_t mtime_ns, TarIndex* index);

}  // namespace mariana
