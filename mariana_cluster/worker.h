// Worker: a process that trains on its share of the data, at the agent's commands (commands.h).
//
// Asynchronous training: the worker's share is shards w, w + W, ...; it takes the next step number,
// trains on its next batch against the shared parameters as they are, and so on; the board's clocks
// hold it back where staleness is bounded. Deterministic training: the data is cut into lanes, lane
// b of B has shards b, b + B, ...; worker w has lanes w, w + W, ... and computes a block for each
// in every round, so that nothing depends on the number of workers.
//
// Threading: one thread runs it; its feeds have theirs.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "common/data/rows/bad_rows.h"
#include "mariana_cluster/click_data.h"
#include "mariana_cluster/commands.h"
#include "mariana_cluster/feed/click_feed.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/scores/click_scores.h"

namespace mariana {

class Worker {
 public:
  // Takes the job from the agent, and its memory.
  explicit Worker(Member* me);
  // Serves commands until the end.
  int Run();

 private:
  struct Lane {
    int number = 0;
    std::unique_ptr<ClickFeed> feed;
    std::unique_ptr<ClickBatch> batch;  // the next one, held where training pauses
    bool ended = false;
  };

  void ReadJob();
  void MakeLanes();
  std::unique_ptr<ClickFeed> MakeFeed(bool train, int first, int of, int64_t cache_memory);
  int64_t FirstBatch(const TrainCommand& command) const;
  void StartEpoch(const TrainCommand& command);
  bool Advance(Lane* lane);
  bool MayTakeStep();
  PausedReport Train(const TrainCommand& command);
  void TrainRounds(const TrainCommand& command);
  void TrainBlock(int64_t round, int64_t round_of_epoch, Lane* lane);
  void Evaluate();
  // Predictions before the update, for the training curve.
  void CountScores(const ClickBatch& batch);
  void SendScores(ScoresOf of, ClickScores* scores);
  std::string Times() const;

  Member* me_;
  JobSpec job_;
  int index_ = 0;
  std::mutex send_mutex_;  // warnings come from feeds' threads
  std::unique_ptr<BadRows> bad_, valid_bad_;
  ClickData data_;
  JobMemory memory_;
  std::unique_ptr<ClickLearner> learner_;
  std::unique_ptr<BlockUpdate> update_;
  std::unique_ptr<ClickScores> progressive_;  // null: not wanted
  std::vector<Lane> lanes_;
  std::vector<std::unique_ptr<ClickFeed>> valid_;
  int64_t evaluations_ = 0;
  int64_t batches_ = 0;  // of the epoch, done
};

}  // namespace mariana
