// RowReader: shards of text files -> RowBatches, in order. IO threads read (and decompress) chunks,
// parse threads turn them into rows; what comes out depends on the files, the shards and the number
// of lanes alone, not on the number of threads or their speed. Memory is bounded whatever the data.
//
// Order: lane l of L reads shards l, l + L, ... one behind the other; chunks are taken from the
// lanes in turn. One lane gives the rows in the order of the files.
// Threading: Next belongs to one thread, Seconds to any.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "common/base/clock.h"
#include "common/data/pipeline.h"
#include "common/data/rows/row_parser.h"

namespace mariana {

class RowReader {
 public:
  struct Options {
    RowPart part = RowPart::kTrain;
    int lanes = 1;  // an IO thread each
    int parse_threads = 1;
    int64_t chunk_bytes = 1 << 18;
  };
  RowReader(Clock* clock, const RowPlan* plan, const RowFiles* files, std::vector<RowShard> shards,
            const Options& options, BadRows* bad);
  ~RowReader();

  // The next rows, those of one chunk (at least one); false at the end, after BadRows::Check. The
  // batch's memory is used again: pass the same one back.
  bool Next(RowBatch* batch);
  std::vector<StageSeconds> Seconds() const { return pipeline_.Seconds(); }

 private:
  using ChunkPtr = std::unique_ptr<TextChunk>;
  using BatchPtr = std::unique_ptr<RowBatch>;

  void Read(StageMeter* meter);
  void Parse(StageMeter* meter);
  int64_t Take(StageMeter* meter, ChunkPtr* chunk);
  bool Deliver(StageMeter* meter, int64_t ticket, BatchPtr batch);
  void Stop();
  // What was given back, or a new one.
  template <class T>
  std::unique_ptr<T> Spare(std::vector<std::unique_ptr<T>>* spares);
  template <class T>
  void GiveBack(std::unique_ptr<T> used, std::vector<std::unique_ptr<T>>* spares);

  const RowPlan* plan_;
  const RowFiles* files_;
  const std::vector<RowShard> shards_;
  const Options options_;
  BadRows* bad_;
  std::vector<std::unique_ptr<Queue<ChunkPtr>>> lanes_;
  std::atomic<int> next_lane_{0};  // to be given to an IO thread

  std::mutex mutex_;  // of all below
  CondVar changed_;
  bool taking_ = false;  // a parse thread takes the next chunk
  std::vector<bool> lane_ended_;
  size_t turn_ = 0;     // lane to take from
  int64_t taken_ = 0;   // tickets given
  int64_t wanted_ = 0;  // ticket that Next waits for
  std::map<int64_t, BatchPtr> parsed_;
  int parsers_left_;
  bool stopped_ = false;
  std::vector<ChunkPtr> spare_chunks_;
  std::vector<BatchPtr> spare_batches_;

  Pipeline pipeline_;  // last: its threads end before the rest goes
};

}  // namespace mariana
