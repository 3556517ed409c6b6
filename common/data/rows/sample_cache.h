// SampleCache: parsed rows kept across epochs, packed in memory and, past a limit, in a temporary
// file. A pass gives every row once, shuffled: blocks of rows are permuted, then pieces of a few
// rows within each window of blocks, then the rows of as many pieces as a core's cache holds: each
// batch has rows of many places, yet memory is read in stretches. The order is a pure function of
// (seed, epoch) and of the rows added.
//
// Threading: Add and Seal belong to one thread and come first; then any number of Readers, each on
// its own thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/data/rows/arena.h"
#include "common/data/rows/packed_rows.h"
#include "common/data/rows/row_batch.h"
#include "common/data/rows/spill_file.h"

namespace mariana {

class SampleCache {
 public:
  struct Options {
    int64_t memory_bytes = int64_t{1} << 30;  // packed rows beyond it go to disk
    std::string folder = "/tmp";              // for the temporary file
    int fields = 0;                           // RowPlan::FieldNames().size()
    int key_bytes = 8;    // of a key, the first: enough for the bits a hashed table looks at
    int block_bits = 10;  // a block has 2^block_bits rows
    int64_t window_blocks = 64;
    uint64_t seed = 1;
  };
  // One pass, or this reader's share of it.
  class Reader;

  explicit SampleCache(Options options);

  // Throws as SpillFile does.
  void Add(const RowBatch& batch);
  void Seal();

  int64_t rows() const { return rows_; }
  int64_t memory_bytes() const { return memory_bytes_; }
  int64_t disk_bytes() const { return file_ == nullptr ? 0 : file_->bytes(); }

  // Reader i of n gets every n-th part of each window, so that all see equally many rows (within
  // one a window). shuffle false: the order in which rows were added.
  std::unique_ptr<Reader> Read(int64_t epoch, bool shuffle, int reader = 0, int readers = 1) const;

 private:
  struct Block {
    PackedRows rows;  // in memory_
    bool on_disk = false;
    SpillFile::Place place;
  };
  int64_t block_rows() const { return int64_t{1} << options_.block_bits; }
  void Keep(const RowBatch& batch, int64_t begin, int64_t end);

  const Options options_;
  RowBatch pending_;
  std::vector<char> packed_;
  Arena memory_;
  std::vector<Block> blocks_;  // of 2^block_bits rows each, the last of fewer
  std::unique_ptr<SpillFile> file_;
  int64_t rows_ = 0, memory_bytes_ = 0;
  bool sealed_ = false;
};

class SampleCache::Reader {
 public:
  // Replaces *batch by the next rows, `rows` of them but for the last time; false at the end.
  bool Next(int64_t rows, RowBatch* batch);
  // Passes over so many rows, or what is left.
  void Skip(int64_t rows);

 private:
  friend class SampleCache;
  Reader(const SampleCache* cache, int64_t epoch, bool shuffle, int reader, int readers);
  bool NextWindow();
  void Shuffle(uint64_t seed);
  // Appends `rows` rows of the window.
  void ReadRows(size_t rows, RowBatch* batch);
  // f(block, row of the block) for a row of the window.
  template <class F>
  void At(uint32_t row, F f) const {
    const int bits = cache_->options_.block_bits;
    f(window_[row >> bits], row & ((int64_t{1} << bits) - 1));
  }

  const SampleCache* cache_;
  const uint64_t seed_;
  const bool shuffle_;
  const int reader_, readers_;
  std::vector<uint32_t> order_;  // of blocks
  size_t next_block_ = 0;
  std::vector<PackedRows> window_;
  std::vector<std::vector<char>> loaded_;  // blocks of the window that were on disk
  std::vector<uint32_t> rows_;             // of the window, permuted
  std::vector<uint32_t> plain_;            // the same before they are mixed: what is fetched
  size_t next_ = 0, end_ = 0;              // this reader's, in rows_
};

}  // namespace mariana
