// EpochRows: the rows of an epoch, a batch at a time: cut from text, or read from the cache that
// the text fills on its way. What ClickFeed gives out, before it is prepared.
// Threading: Start and Next belong to one thread at a time; Seconds, rows and bytes are
// thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "common/data/rows/sample_cache.h"
#include "mariana_cluster/feed/text_rows.h"

namespace mariana {

class EpochRows {
 public:
  struct Options {
    int64_t batch_size = 256;
    int parse_threads = 1;  // 0: the caller's
    bool keep = false;      // rows are cached
    SampleCache::Options cache;
  };
  EpochRows(TextRowsInputs inputs, const Options& options);

  void Start(int64_t epoch, int64_t first_batch);
  // Replaces *batch by the next rows, batch_size of them but for the last time; false at the end,
  // and soon after `stopping` has begun to return true.
  bool Next(const std::function<bool()>& stopping, RowBatch* batch);

  int64_t rows() const { return rows_; }
  int64_t memory_bytes() const { return memory_bytes_; }
  int64_t disk_bytes() const { return disk_bytes_; }
  std::vector<StageSeconds> Seconds() const;

 private:
  void Open(const std::function<bool()>& stopping, RowBatch* batch);
  void OpenText();
  bool NextFromText(RowBatch* batch);
  void CloseText();

  const TextRowsInputs inputs_;
  const Options options_;
  StageMeter cached_;
  std::atomic<int64_t> rows_{-1}, memory_bytes_{0}, disk_bytes_{0};

  int64_t epoch_ = 0, skip_ = 0;  // rows to pass over
  bool opened_ = false;
  bool from_cache_ = false;
  int64_t text_rows_ = 0;  // that the text gave, all of which are in cache_ if rows are kept
  std::unique_ptr<SampleCache> cache_;
  bool full_ = false;  // cache_ has all rows
  std::unique_ptr<SampleCache::Reader> reader_;

  mutable std::mutex mutex_;  // of all below
  std::unique_ptr<TextRows> text_;
  std::vector<StageSeconds> text_seconds_;  // of texts that were closed
};

}  // namespace mariana
