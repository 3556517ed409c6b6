#include "mariana_cluster/scores/score_files.h"

#include <memory>
#include <mutex>

#include "common/base/error.h"
#include "common/data/pipeline.h"
#include "mariana_cluster/feed/click_feed.h"

namespace mariana {
namespace {

using BatchPtr = std::unique_ptr<ClickBatch>;

ClickFeed::Options FeedOptions(const ScoreFilesJob& job) {
  ClickFeed::Options options;
  options.batch_size = job.scorer->options().max_rows;
  options.part = job.part;
  options.parse_threads = job.threads;
  options.queue_depth = job.threads + 1;
  options.joined = job.joined;
  return options;
}

// Threads take batches in turn, score them at once, and give them out in the same turn.
class OrderedScoring {
 public:
  OrderedScoring(const ScoreFilesJob& job, const std::function<bool(const ClickBatch&)>& on_batch)
      : job_(job),
        on_batch_(on_batch),
        feed_(Clock::Real(), &job.scorer->plan(), job.files, job.files->Shards(1), nullptr,
              FeedOptions(job), job.bad),
        changed_(Clock::Real()),
        pipeline_(Clock::Real()) {}

  void Run() {
    feed_.StartEpoch(0);
    pipeline_.OnStop([this] {
      std::unique_lock<std::mutex> lock(mutex_);
      stopped_ = true;
      changed_.NotifyAll();
    });
    pipeline_.AddStage("score", job_.threads, [this](StageMeter*) { Score(); });
    pipeline_.Join();
  }

 private:
  void Score() {
    const auto lane = job_.scorer->MakeLane();
    BatchPtr batch;
    for (int64_t ticket; Take(&ticket, &batch);) {
      lane->Score(batch.get());
      if (!GiveOut(ticket, *batch)) return;
    }
  }

  bool Take(int64_t* ticket, BatchPtr* batch) {
    std::unique_lock<std::mutex> lock(feed_mutex_);
    *ticket = next_++;
    return !stopped_ && feed_.Next(batch);
  }

  bool GiveOut(int64_t ticket, const ClickBatch& batch) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.Wait(&lock, [&] { return stopped_ || turn_ == ticket; });
      if (stopped_) return false;
    }
    const bool goes_on = on_batch_(batch);  // only the thread whose turn it is comes here
    std::unique_lock<std::mutex> lock(mutex_);
    ++turn_;
    if (!goes_on) stopped_ = true;
    changed_.NotifyAll();
    return goes_on;
  }

  const ScoreFilesJob& job_;
  const std::function<bool(const ClickBatch&)>& on_batch_;
  std::mutex feed_mutex_;  // of feed_ and next_
  ClickFeed feed_;
  int64_t next_ = 0;
  std::mutex mutex_;
  CondVar changed_;
  int64_t turn_ = 0;
  std::atomic<bool> stopped_{false};
  Pipeline pipeline_;  // last: its threads end before the rest goes
};

}  // namespace

void ScoreFiles(const ScoreFilesJob& job, const std::function<bool(const ClickBatch&)>& on_batch) {
  if (job.scorer->model().joined_columns != (job.joined ? job.joined->columns() : 0)) {
    throw Fail(ExitCode::kUsage, job.scorer->path(), ": the model has ",
               job.scorer->model().joined_columns, " joined columns, and data.joined ",
               job.joined ? job.joined->columns() : 0);
  }
  OrderedScoring(job, on_batch).Run();
}

}  // namespace mariana
