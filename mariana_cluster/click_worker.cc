// The worker's side of click models.
#include <algorithm>
#include <utility>

#include "common/data/rows/bad_rows.h"
#include "mariana_cluster/click_data.h"
#include "mariana_cluster/feed/click_feed.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/scores/click_scores.h"
#include "mariana_cluster/worker_task.h"

namespace mariana {
namespace {

constexpr int64_t kScoreBytes = 48 << 10;  // of a message
constexpr int64_t kTrainingScores = 4096;  // rows whose scores are sent at a time

class ClickWorker : public WorkerTask {
 public:
  explicit ClickWorker(const WorkerTaskInput& input)
      : input_(input),
        data_(OpenData(*input.job, true)),
        learner_(input.job, *data_.plan, data_.joined_columns(), input.memory, input.worker),
        held_out_(ScoreOptions(*input.job)) {
    const JobSpec& job = *input.job;
    if (job.evaluate.progressive && job.click.loss == ClickLoss::kLogistic) {
      progressive_ = std::make_unique<ClickScores>(ClickScores::Options());
    }
    const auto warn = [this](const std::string& what) { input_.send({"warning", 0, what, {}}); };
    const double most = job.data.rows.max_bad_fraction;
    bad_ = std::make_unique<BadRows>(most, warn);
    // Of rows that are held out of the training files it is told already.
    valid_bad_ = std::make_unique<BadRows>(most, warn, data_.valid_files ? 10 : 0);
  }

  std::unique_ptr<DataLane> MakeLane(int number, int lanes, double memory_share) override;
  void set_epoch_steps(int64_t steps) override { learner_.set_epoch_steps(steps); }
  void Pull() override { learner_.Pull(); }
  void Drain() override { learner_.Drain(); }
  void SendScores(ScoresOf of) override {
    ClickScores* scores = of == ScoresOf::kHeldOut ? &held_out_ : progressive_.get();
    if (scores == nullptr) return;
    for (std::string bytes; !(bytes = scores->Take(kScoreBytes)).empty();) {
      input_.send({"scores", static_cast<int64_t>(of), std::move(bytes), {}});
    }
  }
  int64_t bad_rows() const override { return bad_->bad(); }

  ClickLearner* learner() { return &learner_; }
  void CountHeldOut(ClickBatch* batch);
  // Predictions before the update, for the training curve.
  void CountTraining(const ClickBatch& batch);

 private:
  std::unique_ptr<ClickFeed> MakeFeed(bool train, int first, int of, int64_t cache_memory);

  const WorkerTaskInput input_;
  std::unique_ptr<BadRows> bad_, valid_bad_;
  ClickData data_;
  ClickLearner learner_;
  ClickScores held_out_;
  std::unique_ptr<ClickScores> progressive_;  // null: not wanted
};

// The batches of a feed, one after another; where that saves time, the rows of the next one are
// asked for before the present one is given out.
class RequestedBatches {
 public:
  RequestedBatches(std::unique_ptr<ClickFeed> feed, ClickLearner* learner, Missing missing)
      : feed_(std::move(feed)), learner_(learner), missing_(missing) {}
  ~RequestedBatches() { learner_->Forget(next_.get()); }

  void StartEpoch(int64_t epoch, int64_t first_batch) {
    learner_->Forget(next_.get());
    now_ = nullptr;
    next_ = nullptr;
    begun_ = false;
    feed_->StartEpoch(epoch, first_batch);
  }
  bool Next() {
    if (!learner_->looks_ahead()) return feed_->Next(&now_);
    if (!std::exchange(begun_, true)) Fetch();
    std::swap(now_, next_);
    if (now_ != nullptr) Fetch();
    return now_ != nullptr;
  }
  ClickBatch* batch() const { return now_.get(); }
  const ClickFeed& feed() const { return *feed_; }

 private:
  void Fetch() {
    if (feed_->Next(&next_)) learner_->Request(missing_, *next_);
  }

  std::unique_ptr<ClickFeed> feed_;
  ClickLearner* learner_;
  const Missing missing_;
  bool begun_ = false;
  std::unique_ptr<ClickBatch> now_, next_;
};

class ClickLane : public DataLane {
 public:
  // `valid`: null where nothing is held out.
  ClickLane(ClickWorker* worker, std::unique_ptr<ClickFeed> train, std::unique_ptr<ClickFeed> valid)
      : worker_(worker), train_(std::move(train), worker->learner(), Missing::kInsert) {
    if (valid == nullptr) return;
    valid_ =
        std::make_unique<RequestedBatches>(std::move(valid), worker->learner(), Missing::kSkip);
  }

  void StartEpoch(int64_t epoch, int64_t first_batch) override {
    train_.StartEpoch(epoch, first_batch);
  }
  bool Next() override { return train_.Next(); }
  StepSums Train(int64_t step) override {
    return Count(worker_->learner()->Train(step, train_.batch()));
  }
  StepSums Collect(int64_t step, BlockUpdate* update) override {
    return Count(worker_->learner()->Collect(step, train_.batch(), update));
  }
  void Score(int64_t evaluation, const std::function<bool()>& stop) override {
    if (valid_ == nullptr) return;
    valid_->StartEpoch(evaluation, 0);
    while (!stop() && valid_->Next()) {
      worker_->learner()->Score(valid_->batch());
      worker_->CountHeldOut(valid_->batch());
    }
  }
  Queued queued() const override { return {train_.feed().queued(), train_.feed().queue_depth()}; }
  std::vector<StageSeconds> Seconds() const override { return train_.feed().Seconds(); }

 private:
  StepSums Count(const ClickLearner::Losses& losses) {
    worker_->CountTraining(*train_.batch());
    return {train_.batch()->rows.rows, losses.loss, losses.weight, Keys()};
  }
  int64_t Keys() const {
    const ClickBatch& batch = *train_.batch();
    if (worker_->learner()->by_sample()) return static_cast<int64_t>(batch.rows.key.size());
    int64_t keys = 0;
    for (const TableBatch& t : batch.tables) keys += static_cast<int64_t>(t.keys.size());
    return keys;
  }

  ClickWorker* worker_;
  RequestedBatches train_;
  std::unique_ptr<RequestedBatches> valid_;
};

std::unique_ptr<ClickFeed> ClickWorker::MakeFeed(bool train, int first, int of,
                                                 int64_t cache_memory) {
  const JobSpec& job = *input_.job;
  ClickFeed::Options o;
  o.batch_size = job.train.batch_size;
  o.part = train ? RowPart::kTrain : data_.valid_part();
  o.parse_threads = static_cast<int>(job.parallel.parse_threads);
  o.queue_depth = job.parallel.Depth(train && learner_.by_sample());
  o.cache = job.data.cache.kind == CacheKind::kMemory;
  o.cache_memory = cache_memory;
  o.cache_folder = job.data.cache.folder;
  o.seed = static_cast<uint64_t>(job.seed);
  o.prepare = !train || !learner_.by_sample();
  o.joined = data_.joined.get();
  return std::make_unique<ClickFeed>(
      Clock::Real(), data_.plan.get(), train ? data_.train.get() : &data_.valid(),
      ShareOf(train ? data_.train_shards : data_.valid_shards, first, of), &learner_.model(), o,
      train ? bad_.get() : valid_bad_.get());
}

std::unique_ptr<DataLane> ClickWorker::MakeLane(int number, int lanes, double memory_share) {
  // A quarter of the cache is for held-out rows.
  const auto memory =
      static_cast<int64_t>(memory_share * static_cast<double>(input_.job->data.cache.memory));
  const int64_t valid_memory = data_.has_valid() ? memory / 4 : 0;
  auto train = MakeFeed(true, number, lanes, memory - valid_memory);
  auto valid = data_.has_valid() ? MakeFeed(false, number, lanes, valid_memory) : nullptr;
  return std::make_unique<ClickLane>(this, std::move(train), std::move(valid));
}

void ClickWorker::CountHeldOut(ClickBatch* batch) {
  // Held-out rows are not thinned out as those of training may be.
  const auto correction = static_cast<float>(data_.plan->LogitCorrection());
  for (float& logit : batch->logits) logit += correction;
  const RowBatch& rows = batch->rows;
  const bool groups = !input_.job->data.rows.group.empty();
  held_out_.Add(batch->logits.data(), rows.label.data(), rows.weight.data(),
                groups ? rows.group.data() : nullptr, rows.rows);
}

void ClickWorker::CountTraining(const ClickBatch& batch) {
  if (progressive_ == nullptr) return;
  const RowBatch& rows = batch.rows;
  progressive_->Add(batch.logits.data(), rows.label.data(), rows.weight.data(), nullptr, rows.rows);
  if (progressive_->rows() >= kTrainingScores) SendScores(ScoresOf::kTraining);
}

}  // namespace

std::unique_ptr<WorkerTask> MakeClickWorker(const WorkerTaskInput& input) {
  return std::make_unique<ClickWorker>(input);
}

}  // namespace mariana
