// ClickFeed: the batches of one worker, epoch after epoch, ready for ClickModel::Forward.
//
//   feed.StartEpoch(epoch, first_batch);
//   for (std::unique_ptr<ClickBatch> batch; feed.Next(&batch);) { gather, train on *batch ... }
//
// Epoch 0 reads text in the files' order; with a cache it keeps the parsed rows, and later epochs
// come from there, shuffled. Without one every epoch is text, in the files' order. An epoch is cut
// every batch_size rows whatever the chunks of text are, so all batches but its last are full.
//
// A batch is a pure function of (files, shards, seed, epoch, number of the batch): not of threads,
// queues or whether the job was resumed. A run that starts with a later epoch reads the text once
// to fill the cache, without giving batches out; one that starts in mid-epoch passes over what
// comes before.
//
// Stages: read | parse | prepare (cut and cache: kept, or cache: read; then prepared) | the caller;
// before the caller a queue of queue_depth batches. Depth 0: all in the caller's thread, one after
// another. Memory is bounded, and once all queues have been full nothing is allocated.
//
// Threading: StartEpoch and Next belong to one thread; the other methods are thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/data/pipeline.h"
#include "common/data/rows/bad_rows.h"
#include "common/data/rows/row_files.h"
#include "common/data/rows/row_plan.h"
#include "mariana_cluster/feed/joined_features.h"
#include "mariana_cluster/model/click_model.h"

namespace mariana {

class ClickFeed {
 public:
  struct Options {
    int64_t batch_size = 256;
    RowPart part = RowPart::kTrain;
    int parse_threads = 1;
    int64_t queue_depth = 2;
    bool cache = false;
    int64_t cache_memory = int64_t{1} << 30;  // bytes; what is beyond goes to a temporary file
    std::string cache_folder = "/tmp";        // of that file
    uint64_t seed = 1;                        // of the order in which the cache is read
    bool prepare = true;                      // by the model
    const JoinedFeatures* joined = nullptr;   // appended to each batch's dense columns
  };
  // All pointers outlive the feed. `model` null: batches are rows alone, nothing is prepared; nor
  // where options say so.
  // Error(kUsage) when features are to be joined and the data has no id.
  ClickFeed(Clock* clock, const RowPlan* plan, const RowFiles* files, std::vector<RowShard> shards,
            const ClickModel* model, const Options& options, BadRows* bad);
  ~ClickFeed();  // at any time, in mid-epoch too

  // Leaves the epoch under way, if any. first_batch may be at or past the end.
  void StartEpoch(int64_t epoch, int64_t first_batch = 0);
  // Takes back the batch that *batch holds and replaces it by the next; false, and null, at the end
  // of the epoch. An exception of any stage comes out here.
  bool Next(std::unique_ptr<ClickBatch>* batch);

  // Batches that are ready for Next, and how many there may be.
  int64_t queued() const;
  int64_t queue_depth() const;
  // Rows of an epoch; -1 until one was read to its end (EstimateRows has an answer before).
  int64_t rows() const;
  // Of the cache: 0 without one.
  int64_t cache_memory_bytes() const;
  int64_t cache_disk_bytes() const;
  // Since the feed was made: "read", "parse", "cut", "cache", "prepare", and "consume": the caller,
  // busy between its calls of Next. Stages that never ran are left out.
  std::vector<StageSeconds> Seconds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// How many of a key's first bytes tell rows of these tables apart: all 8 where one is keyed.
int KeyBytes(const std::vector<ClickTable>& tables);

}  // namespace mariana
