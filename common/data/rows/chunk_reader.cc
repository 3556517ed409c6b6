#include "common/data/rows/chunk_reader.h"

#include <algorithm>
#include <cstring>

#include "common/base/error.h"
#include "common/data/rows/key_hash.h"

namespace mariana {

ChunkReader::ChunkReader(const RowFiles* files, RowShard shard, Options options)
    : files_(files), shard_(std::move(shard)), options_(options) {}

bool ChunkReader::Next(TextChunk* chunk) {
  for (;;) {
    if (source_ == nullptr && !OpenPiece()) return false;
    if (offset_ >= end_) {
      ClosePiece();
      continue;
    }
    Begin(chunk);
    size_t want = static_cast<size_t>(options_.chunk_bytes);
    Fill(want, chunk);
    if (chunk->size == 0) {
      ClosePiece();
      continue;
    }
    // One line that is longer than a chunk: up to the limit, and no further.
    while (LastLineEnd(*chunk) == 0 && chunk->size >= want &&
           static_cast<int64_t>(chunk->size) <= options_.line_limit) {
      want = std::min(2 * want, static_cast<size_t>(options_.line_limit) + 1);
      Fill(want, chunk);
    }
    chunk->offset = offset_;
    chunk->first_line = line_;
    const size_t cut = Cut(chunk);
    carried_.assign(chunk->text.data() + cut, chunk->size - cut);
    chunk->size = cut;
    offset_ += static_cast<int64_t>(cut);
    if (line_ > 0) line_ += std::count(chunk->text.data(), chunk->text.data() + cut, '\n');
    if (chunk->overlong) SkipLine();
    std::memset(chunk->text.data() + cut, 0, kTextPadding);
    return true;
  }
}

bool ChunkReader::OpenPiece() {
  if (piece_ == shard_.size()) return false;
  const RowPiece& piece = shard_[piece_++];
  end_ = piece.end;
  offset_ = 0;
  line_ = 1;
  if (piece.begin == 0) {
    source_ = files_->Open(piece.file);
    const RowFile& file = (*files_)[piece.file];
    if (file.packing == Packing::kStream && source_->Peek() == 0x1f) {
      throw Fail(ExitCode::kBadData, file.path, ": is compressed; pipe it through zcat or zstdcat");
    }
    return true;
  }
  // The line that ends at or after byte begin - 1 is the shard's before.
  source_ = files_->OpenAt(piece.file, piece.begin - 1);
  offset_ = piece.begin - 1;
  line_ = 0;
  SkipLine();
  return true;
}

// Starts a chunk with what was read before.
void ChunkReader::Begin(TextChunk* chunk) {
  chunk->file = shard_[piece_ - 1].file;
  chunk->overlong = false;
  chunk->size = carried_.size();
  if (chunk->text.size() < chunk->size) chunk->text.resize(chunk->size);
  std::memcpy(chunk->text.data(), carried_.data(), carried_.size());
}

// Reads until the chunk holds `want` bytes or the source ends; leaves room for what ends a chunk.
void ChunkReader::Fill(size_t want, TextChunk* chunk) {
  want = std::max(want, chunk->size);
  if (chunk->text.size() < want + kTextPadding + 1) chunk->text.resize(want + kTextPadding + 1);
  chunk->size += source_->Read(chunk->text.data() + chunk->size, want - chunk->size);
}

size_t ChunkReader::LastLineEnd(const TextChunk& chunk) const {
  if (!options_.quoted_breaks) {
    const void* found = memrchr(chunk.text.data(), '\n', chunk.size);
    return found == nullptr
               ? 0
               : static_cast<size_t>(static_cast<const char*>(found) - chunk.text.data()) + 1;
  }
  size_t end = 0;
  bool quoted = false;
  for (size_t i = 0; i < chunk.size; ++i) {
    quoted ^= chunk.text[i] == '"';
    if (chunk.text[i] == '\n' && !quoted) end = i + 1;
  }
  return end;
}

// Bytes of the chunk to give out; marks it as overlong, ends the file's last line.
size_t ChunkReader::Cut(TextChunk* chunk) {
  // The last line that begins before end_.
  const int64_t ours = end_ - offset_;
  if (ours < static_cast<int64_t>(chunk->size)) {
    const void* found =
        memchr(chunk->text.data() + ours - 1, '\n', chunk->size - static_cast<size_t>(ours) + 1);
    if (found != nullptr) {
      return static_cast<size_t>(static_cast<const char*>(found) - chunk->text.data()) + 1;
    }
  }
  const size_t end = LastLineEnd(*chunk);
  const bool at_end = source_->Peek() < 0;
  if (at_end && end < chunk->size) {  // the file's last line has no line break
    chunk->overlong = end == 0 && static_cast<int64_t>(chunk->size) > options_.line_limit;
    if (!chunk->overlong) chunk->text[chunk->size++] = '\n';
    return chunk->size;
  }
  if (end > 0) return end;
  chunk->overlong = true;
  return chunk->size;
}

// Leaves the next line's beginning in source_, having nothing carried.
void ChunkReader::SkipLine() {
  for (int c; (c = source_->Get()) >= 0;) {
    ++offset_;
    if (c == '\n') break;
  }
  if (line_ > 0) ++line_;
}

void ChunkReader::ClosePiece() {
  source_ = nullptr;
  carried_.clear();
}

}  // namespace mariana
