#include "mariana_cluster/worker.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "mariana_cluster/feed/estimate_rows.h"
#include "mariana_cluster/scores/click_scores.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

constexpr int64_t kScoreBytes = 48 << 10;  // of a message
constexpr int64_t kTrainingScores = 4096;  // rows whose scores are sent at a time

ClickScores::Options ScoreOptions(const JobSpec& job) {
  ClickScores::Options options;
  options.squared = job.click.loss == ClickLoss::kSquared;
  options.groups = !job.data.rows.group.empty();
  options.folder = job.data.cache.folder;
  return options;
}

}  // namespace

Worker::Worker(Member* me) : me_(me) {
  ReadJob();
  data_ = OpenData(job_.data, true);
  const auto tables =
      MakeClickTables(job_.click, *data_.plan, static_cast<uint64_t>(job_.seed)).size();
  memory_ = ReceiveMemory(me_, static_cast<int>(tables));
  learner_ =
      std::make_unique<ClickLearner>(&job_, *data_.plan, data_.joined_columns(), &memory_, index_);
  if (job_.evaluate.progressive && job_.click.loss == ClickLoss::kLogistic) {
    progressive_ = std::make_unique<ClickScores>(ClickScores::Options());
  }
  if (memory_.ordered) update_ = std::make_unique<BlockUpdate>(memory_.ordered->servers());
  const auto warn = [this](const std::string& what) {
    std::unique_lock<std::mutex> lock(send_mutex_);
    me_->Send({"warning", 0, what, {}});
  };
  const double most = job_.data.rows.max_bad_fraction;
  bad_ = std::make_unique<BadRows>(most, warn);
  // Of rows that are held out of the training files it is told already.
  valid_bad_ = std::make_unique<BadRows>(most, warn, data_.valid_files ? 10 : 0);
  MakeLanes();
}

void Worker::ReadJob() {
  const std::string yaml = ReceiveJob(me_, &index_);
  LoadConfigText(yaml, "the agent's job", "/", {}, [this](Fields* f) { job_.Describe(f); });
}

std::unique_ptr<ClickFeed> Worker::MakeFeed(bool train, int first, int of, int64_t cache_memory) {
  ClickFeed::Options o;
  o.batch_size = job_.train.batch_size;
  o.part = train ? RowPart::kTrain : data_.valid_part();
  o.parse_threads = static_cast<int>(job_.parallel.parse_threads);
  o.queue_depth = job_.parallel.queue_depth;
  o.cache = job_.data.cache.kind == CacheKind::kMemory;
  o.cache_memory = cache_memory;
  o.cache_folder = job_.data.cache.folder;
  o.seed = static_cast<uint64_t>(job_.seed);
  o.joined = data_.joined.get();
  return std::make_unique<ClickFeed>(
      Clock::Real(), data_.plan.get(), train ? data_.train.get() : &data_.valid(),
      ShareOf(train ? data_.train_shards : data_.valid_shards, first, of), &learner_->model(), o,
      train ? bad_.get() : valid_bad_.get());
}

void Worker::MakeLanes() {
  const int workers = static_cast<int>(job_.parallel.workers);
  const bool ordered = memory_.ordered.has_value();
  const int lanes = ordered ? memory_.ordered->blocks() : workers;
  int mine = 0;
  for (int b = index_; b < lanes; b += workers) ++mine;
  // A quarter of the cache is for held-out rows.
  const int64_t memory = job_.data.cache.memory / std::max(1, mine);
  const int64_t valid_memory = data_.has_valid() ? memory / 4 : 0;
  for (int b = index_; b < lanes; b += workers) {
    lanes_.emplace_back();
    lanes_.back().number = b;
    lanes_.back().feed = MakeFeed(true, b, lanes, memory - valid_memory);
    if (data_.has_valid()) valid_.push_back(MakeFeed(false, b, lanes, valid_memory));
  }
}

int Worker::Run() {
  me_->Send({"ready", 0, "", {}});
  for (;;) {
    const Message m = me_->Receive();
    if (m.kind == "train") {
      const PausedReport report = Train(FromBody<TrainCommand>(m.body));
      if (progressive_ != nullptr) SendScores(ScoresOf::kTraining, progressive_.get());
      std::unique_lock<std::mutex> lock(send_mutex_);
      me_->Send({"paused", 0, ToBody(report), {}});
    } else if (m.kind == "evaluate") {
      Evaluate();
    } else if (m.kind == "times") {
      std::unique_lock<std::mutex> lock(send_mutex_);
      me_->Send({"times", 0, Times(), {}});
    } else {
      CHECK_EQ(m.kind, "end");
      return 0;
    }
  }
}

// ---- training

// Where a resumed run with another number of workers goes on: at the same share of the epoch.
int64_t Worker::FirstBatch(const TrainCommand& command) const {
  if (command.done < 0) return command.first_batch;
  const auto share = ShareOf(data_.train_shards, index_, static_cast<int>(job_.parallel.workers));
  const int64_t rows = EstimateRows(*data_.plan, *data_.train, share, RowPart::kTrain);
  return static_cast<int64_t>(std::llround(command.done * static_cast<double>(rows) /
                                           static_cast<double>(job_.train.batch_size)));
}

void Worker::StartEpoch(const TrainCommand& command) {
  batches_ = FirstBatch(command);
  for (Lane& lane : lanes_) {
    lane.ended = false;
    lane.batch = nullptr;
    lane.feed->StartEpoch(command.epoch, batches_);
    if (memory_.ordered && !Advance(&lane)) memory_.progress->SetLaneEnd(lane.number, batches_);
  }
}

// Takes the lane's next batch; false at its end.
bool Worker::Advance(Lane* lane) {
  const int64_t begin = Clock::Real()->NowNs();
  lane->ended = !lane->feed->Next(&lane->batch);
  memory_.progress->AddNs(index_, WorkerStage::kData, Clock::Real()->NowNs() - begin);
  return !lane->ended;
}

// Waits where the mode says so; false when training pauses here.
bool Worker::MayTakeStep() {
  RunProgress* progress = &*memory_.progress;
  const ClusterSpec& p = job_.parallel;
  const auto pauses = [&] { return me_->stopping() || progress->AtLimit(); };
  if (p.mode == Mode::kAsync && p.staleness == 0) return !pauses();
  const int64_t begin = Clock::Real()->NowNs();
  const int first = me_->number() - index_, count = static_cast<int>(p.workers);
  const int64_t wanted = me_->board()->clock(me_->number()) - p.staleness;
  me_->board()->Wait([&] { return pauses() || me_->board()->Slowest(first, count) >= wanted; },
                     StrCat("the slowest worker to reach step ", wanted));
  progress->AddNs(index_, WorkerStage::kWait, Clock::Real()->NowNs() - begin);
  return !pauses();
}

PausedReport Worker::Train(const TrainCommand& command) {
  learner_->set_epoch_steps(command.epoch_steps);
  if (command.begins) StartEpoch(command);
  if (memory_.ordered) {
    TrainRounds(command);
    return {batches_, false, bad_->bad()};
  }
  Lane& lane = lanes_[0];
  int64_t step;
  while (lane.batch != nullptr || Advance(&lane)) {
    if (!MayTakeStep() || !memory_.progress->TakeStep(&step)) break;
    const ClickLearner::Losses losses = learner_->Train(step, lane.batch.get());
    memory_.progress->Count(index_, lane.batch->rows.rows, losses.loss, losses.weight);
    CountScores(*lane.batch);
    ++batches_;
    me_->board()->Advance(me_->number());
    Advance(&lane);
  }
  if (lane.ended) me_->board()->Leave(me_->number());
  return {batches_, lane.ended, bad_->bad()};
}

void Worker::TrainRounds(const TrainCommand& command) {
  OrderedUpdates* ordered = &*memory_.ordered;
  for (int64_t round = command.round; round < command.end_round; ++round, ++batches_) {
    const int64_t begin = Clock::Real()->NowNs();
    const bool goes_on = ordered->Await(me_->board(), round);
    memory_.progress->AddNs(index_, WorkerStage::kWait, Clock::Real()->NowNs() - begin);
    if (!goes_on) return;
    if (memory_.progress->LanesEnded(batches_)) {
      ordered->EndAfter(round - 1);
      return;
    }
    // Only who has a block of the round to put may end it: nobody is beyond it then.
    if (me_->stopping() && !lanes_.empty()) ordered->EndAfter(round);
    learner_->Pull();
    for (Lane& lane : lanes_) TrainBlock(round, batches_, &lane);
  }
}

void Worker::TrainBlock(int64_t round, int64_t round_of_epoch, Lane* lane) {
  if (lane->ended) {
    update_->Clear();
  } else {
    const int64_t step = round * memory_.ordered->blocks() + lane->number;
    const ClickLearner::Losses losses = learner_->Collect(step, lane->batch.get(), update_.get());
    memory_.progress->Count(index_, lane->batch->rows.rows, losses.loss, losses.weight);
    CountScores(*lane->batch);
    // Told before the block is, so that all see it before the next round.
    if (!Advance(lane)) memory_.progress->SetLaneEnd(lane->number, round_of_epoch + 1);
  }
  memory_.ordered->Put(me_->board(), round, lane->number, update_->sections());
}

// ---- evaluation

void Worker::Evaluate() {
  learner_->Pull();
  const ClickScores::Options options = ScoreOptions(job_);
  ClickScores scores(options);
  // Held-out rows are not thinned out as those of training may be.
  const auto correction = static_cast<float>(data_.plan->LogitCorrection());
  for (const auto& feed : valid_) {
    feed->StartEpoch(evaluations_);
    for (std::unique_ptr<ClickBatch> batch; !me_->stopping() && feed->Next(&batch);) {
      learner_->Score(batch.get());
      for (float& logit : batch->logits) logit += correction;
      const RowBatch& rows = batch->rows;
      scores.Add(batch->logits.data(), rows.label.data(), rows.weight.data(),
                 options.groups ? rows.group.data() : nullptr, rows.rows);
    }
  }
  ++evaluations_;
  SendScores(ScoresOf::kHeldOut, &scores);
  std::unique_lock<std::mutex> lock(send_mutex_);
  me_->Send({"evaluated", 0, "", {}});
}

void Worker::CountScores(const ClickBatch& batch) {
  if (progressive_ == nullptr) return;
  const RowBatch& rows = batch.rows;
  progressive_->Add(batch.logits.data(), rows.label.data(), rows.weight.data(), nullptr, rows.rows);
  if (progressive_->rows() >= kTrainingScores) SendScores(ScoresOf::kTraining, progressive_.get());
}

void Worker::SendScores(ScoresOf of, ClickScores* scores) {
  std::unique_lock<std::mutex> lock(send_mutex_);
  for (std::string bytes; !(bytes = scores->Take(kScoreBytes)).empty();) {
    me_->Send({"scores", static_cast<int64_t>(of), std::move(bytes), {}});
  }
}

std::string Worker::Times() const {
  std::string text;
  for (const Lane& lane : lanes_) {
    for (const StageSeconds& s : lane.feed->Seconds()) {
      text +=
          StrCat(s.name, " ", s.threads, " ", s.busy, " ", s.wait_input, " ", s.wait_output, "\n");
    }
  }
  return text;
}

int WorkerVerb(const CommandLine&) {
  return RunMember([](Member* me) { return Worker(me).Run(); });
}

}  // namespace mariana
