// ChunkReader: the text of a shard in large chunks that end where lines (csv with multiline:
// records) end. Memory: two chunks, whatever the data; a longer line up to its limit.
// Threading: an object belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/data/rows/row_files.h"

namespace mariana {

struct TextChunk {
  int file = 0;
  int64_t offset = 0;      // of text[0] in the file (decompressed)
  int64_t first_line = 1;  // number of the first line, 0 where that is not known
  // text[0, size) is whole lines, the last ended too; kTextPadding readable bytes follow.
  std::string text;
  size_t size = 0;
  bool overlong = false;  // the beginning of one line that exceeds the limit; the rest is skipped
};

class ChunkReader {
 public:
  struct Options {
    int64_t chunk_bytes = 1 << 18;
    int64_t line_limit = 1 << 20;
    bool quoted_breaks = false;  // csv with multiline
  };
  ChunkReader(const RowFiles* files, RowShard shard, Options options);

  // False at the end of the shard. What the chunk held before is overwritten, its memory kept.
  bool Next(TextChunk* chunk);

 private:
  bool OpenPiece();
  void Begin(TextChunk* chunk);
  void Fill(size_t want, TextChunk* chunk);
  size_t LastLineEnd(const TextChunk& chunk) const;
  size_t Cut(TextChunk* chunk);
  void SkipLine();
  void ClosePiece();

  const RowFiles* files_;
  const RowShard shard_;
  const Options options_;
  size_t piece_ = 0;  // the next of shard_
  std::unique_ptr<ByteSource> source_;
  int64_t offset_ = 0;  // of the next chunk's first byte
  int64_t end_ = 0;     // lines from here on are another shard's
  int64_t line_ = 0;
  std::string carried_;  // read, but not given out yet
};

}  // namespace mariana
