// PackedRows: a block of rows packed for memory: what the sample cache keeps. Any row is read
// without the others. A row of 39 categorical features takes 8 bytes for each and 16 for the rest
// (Criteo's text: 270); with key_bytes 4 half of that.
//
// Layout (native byte order: a block never leaves the process): a header; the offset of each
// record, and their end; records, each all that a row has, so that a row in random order costs one
// place in memory: label; weight unless all are 1; group, id where there are any; dense [columns];
// then
//   a bit per field that has a feature, keys of key_bytes each, values of those fields that have
//   other values than 1 in this block; or, where a field repeats in a row,
//   the number of features, their fields, keys, values of all.
// Keys are kept as they are: a dictionary per field and block would be smaller, but each key would
// have to be looked up while the first epoch is under way.
// Thread-safe: const after construction.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/data/rows/row_batch.h"

namespace mariana {

// rows [begin, end) of a batch; fields are below `fields`. Of a key its first key_bytes
// bytes are kept, the rest reads as zeros.
// The block is the first bytes of *block, as many as are returned; reuse it: it keeps its memory.
size_t PackRows(const RowBatch& batch, int64_t begin, int64_t end, int fields, int key_bytes,
                std::vector<char>* block);

class PackedRows {
 public:
  static constexpr size_t kSlack = 16;

  PackedRows() = default;
  // A block that PackRows made, all of it; it must outlive this.
  explicit PackedRows(const char* block);

  int64_t rows() const { return rows_; }
  // Features of a row at most.
  size_t most_features() const { return most_features_; }
  // Writes the features of row r, and returns how many. Up to kSlack values behind them may be
  // written, too.
  size_t ReadFeatures(int64_t r, uint64_t* key, uint16_t* field, float* value) const {
    const char* record = records_ + offsets_[r] + marks_bytes_;
    return repeats_ ? ReadRepeating(record, key, field, value)
                    : ReadRecord(record, key, field, value);
  }
  // Writes everything else of row r as row `to` of the batch, which has room for it (MakeRoom).
  void ReadMarks(int64_t r, size_t to, RowBatch* batch) const;
  // Sizes all but features for so many rows of what this block holds.
  void MakeRoom(size_t rows, RowBatch* batch) const;
  // kLevel: 3 the first-level cache, 2 the second.
  template <int kLevel>
  void PrefetchRow(int64_t r) const {
    for (const char *p = records_ + offsets_[r], *end = records_ + offsets_[r + 1]; p < end;
         p += 64) {
      __builtin_prefetch(p, 0, kLevel);
    }
  }

 private:
  // Fields that follow each other: first those whose value is 1, then those that have theirs
  // stored.
  struct Range {
    uint64_t ones, stored;  // a bit per field
  };

  size_t ReadRecord(const char* p, uint64_t* key, uint16_t* field, float* value) const;
  size_t ReadRepeating(const char* p, uint64_t* key, uint16_t* field, float* value) const;
  void ReadValues(const char* mask, const char* stored, float* value) const;
  void SetRanges();

  int64_t rows_ = 0, dense_columns_ = 0;
  size_t most_features_ = 0;
  int key_bytes_ = 8, mask_words_ = 0;
  bool repeats_ = false;
  // Where in a record its marks are; -1: nowhere.
  int weight_at_ = -1, group_at_ = -1, id_at_ = -1, dense_at_ = 0, marks_bytes_ = 0;
  const char* records_ = nullptr;
  const uint32_t* offsets_ = nullptr;
  std::vector<uint64_t> valued_;  // a bit per field whose values are stored
  std::vector<Range> ranges_;     // of up to 64 fields; the last one's `stored` is empty
  void (*read_keys_)(const char* from, size_t n, uint64_t* to) = nullptr;
};

}  // namespace mariana
