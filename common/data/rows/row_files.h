// RowFiles: the files of a data set, and how they are dealt out: cut into a fixed number of virtual
// shards, a pure function of the files' names and sizes, so that any number of processes can read
// each its share, and a job goes on with another number.
//
// Shard s of S has the lines that begin in bytes [s T / S, (s + 1) T / S) of the files put one
// behind the other (T bytes as they are stored). Files that cannot be entered in the middle
// (gzip, zstd, streams, csv with multiline) belong to the shard in which they begin.
// Thread-safe: const after construction.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/data/byte_source.h"
#include "common/data/rows/row_spec.h"

namespace mariana {

enum class Packing { kPlain, kGzip, kZstd, kStream };

struct RowFile {
  std::string path;  // "-" is standard input
  Packing packing = Packing::kPlain;
  int64_t size = 0;                  // bytes as stored; 0 for streams
  int64_t begin = 0;                 // where it begins in all files put one behind the other
  bool whole = false;                // cannot be entered in the middle
  std::vector<std::string> columns;  // of tables
  // Rows from this byte on are held out (held_out.kind last).
  int64_t held_out_from = INT64_MAX;
};

// Bytes [begin, end) of a plain file; the whole of another, end INT64_MAX.
struct RowPiece {
  int file = 0;
  int64_t begin = 0, end = INT64_MAX;
};
using RowShard = std::vector<RowPiece>;

class RowFiles {
 public:
  // Paths, globs (*, ?, [], {a,b}; sorted; at least one file each) and "-" (also as the last part
  // of a path, which is what a config's folder makes of it). Opens each file, reads the headers of
  // csv files. Throws Error(kBadData): no such file, cannot be opened; Error(kUsage): columns that
  // the spec names are not there, held_out: last of what has no length.
  RowFiles(const std::vector<std::string>& patterns, const RowSpec& spec);

  int size() const { return static_cast<int>(files_.size()); }
  const RowFile& operator[](int i) const { return files_[static_cast<size_t>(i)]; }
  int64_t total_bytes() const { return total_bytes_; }

  std::vector<RowShard> Shards(int count) const;
  std::unique_ptr<ByteSource> Open(int file) const;                    // from its start
  std::unique_ptr<ByteSource> OpenAt(int file, int64_t offset) const;  // plain files
  // The line (from 1) that byte `offset` of a plain file is in. Reads the file up to there.
  int64_t LineAt(int file, int64_t offset) const;

 private:
  void Add(const std::string& pattern);
  void ReadColumns(const RowSpec& spec, RowFile* file) const;
  void HoldOutLast(double fraction);

  std::vector<RowFile> files_;
  int64_t total_bytes_ = 0;
};

}  // namespace mariana
