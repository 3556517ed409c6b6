// The worker's side of nets for labelled frames.
#include <algorithm>
#include <optional>
#include <utility>

#include "mariana_cluster/frame_learner.h"
#include "mariana_cluster/frame_share.h"
#include "mariana_cluster/worker_task.h"

namespace mariana {
namespace {

constexpr int64_t kTrainingScores = 4096;  // frames whose scores are sent at a time

class FrameWorker : public WorkerTask {
 public:
  explicit FrameWorker(const WorkerTaskInput& input)
      : input_(input),
        facts_(FrameFacts::FromBytes(input.memory->measured)),
        // The agent has told the user what is wrong with the data.
        sets_(OpenFrameSets(input.job->data.frames, input.job->data.frames.num_labels,
                            "data.frames", [](const std::string&) {})),
        learner_(input.job, facts_.dim, input.memory, input.worker) {
    for (SpeechCorpus* set : {sets_.train.get(), sets_.valid.get()}) {
      if (set != nullptr && !facts_.mean.empty()) set->SetGlobalStats(facts_.mean, facts_.scale);
    }
  }

  std::unique_ptr<DataLane> MakeLane(int number, int lanes, double memory_share) override;
  void set_epoch_steps(int64_t steps) override { learner_.set_epoch_steps(steps); }
  void Pull() override { learner_.Pull(); }
  void SendScores(ScoresOf of) override {
    std::vector<ScoredFrames>* scores = of == ScoresOf::kHeldOut ? &held_out_ : &training_;
    for (const ScoredFrames& s : *scores) {
      input_.send({"scores", static_cast<int64_t>(of), ToBody(s), {}});
    }
    scores->clear();
  }

  const JobSpec& job() const { return *input_.job; }
  const FrameSets& sets() const { return sets_; }
  FrameLearner* learner() { return &learner_; }
  void Count(const ScoredFrames& held_out) { held_out_.push_back(held_out); }
  void CountTraining(const StepSums& sums, int64_t correct) {
    if (training_.empty()) training_.emplace_back();
    training_[0].frames += sums.samples;
    training_[0].correct += correct;
    training_[0].loss += sums.loss;
    if (training_[0].frames >= kTrainingScores) SendScores(ScoresOf::kTraining);
  }

 private:
  const WorkerTaskInput input_;
  const FrameFacts facts_;
  FrameSets sets_;
  FrameLearner learner_;
  std::vector<ScoredFrames> held_out_, training_;  // not sent yet
};

// Frames of a part of the utterances, in batches.
class Frames {
 public:
  Frames(const SpeechCorpus* set, FrameStreamOptions options, int64_t epoch, int lane, int lanes)
      : share_(set, options.seed, epoch, lane, lanes), stream_(&share_, options) {}
  FrameStream* stream() { return &stream_; }
  const FrameStream* stream() const { return &stream_; }

 private:
  FrameShare share_;
  FrameStream stream_;
};

class FrameLane : public DataLane {
 public:
  FrameLane(FrameWorker* worker, int number, int lanes)
      : worker_(worker), number_(number), lanes_(lanes) {}

  void StartEpoch(int64_t epoch, int64_t first_batch) override {
    EndEpoch();
    const JobSpec& job = worker_->job();
    FrameStreamOptions options = Options();
    options.epoch = epoch;
    options.block_frames = job.data.frames.block_frames;
    options.first_step = first_batch;
    options.prefetch = static_cast<int>(std::max<int64_t>(1, job.parallel.Depth(false)));
    options.readers = static_cast<int>(job.data.frames.reader_threads);
    frames_.emplace(worker_->sets().train.get(), options, epoch, number_, lanes_);
  }

  bool Next() override {
    batch_ = FrameBatch();
    if (!frames_) return false;  // the epoch has ended before
    if (frames_->stream()->Next(&batch_)) return true;
    EndEpoch();
    return false;
  }

  StepSums Train(int64_t step) override {
    int64_t correct;
    const StepSums sums = worker_->learner()->Train(step, batch_, &correct);
    worker_->CountTraining(sums, correct);
    return sums;
  }

  StepSums Collect(int64_t step, BlockUpdate* update) override {
    int64_t correct;
    const StepSums sums = worker_->learner()->Collect(step, batch_, update, &correct);
    worker_->CountTraining(sums, correct);
    return sums;
  }

  void Score(int64_t, const std::function<bool()>& stop) override {
    if (worker_->sets().valid == nullptr) return;
    FrameStreamOptions options = Options();
    options.shuffle = false;
    Frames frames(worker_->sets().valid.get(), options, 0, number_, lanes_);
    ScoredFrames scores;
    scores.lane = number_;
    for (FrameBatch batch; !stop() && frames.stream()->Next(&batch);) {
      const LossSums sums = worker_->learner()->Score(batch);
      scores.frames += batch.rows();
      scores.correct += sums.correct;
      scores.loss += sums.loss;
    }
    worker_->Count(scores);
  }

  std::vector<StageSeconds> Seconds() const override {
    std::vector<StageSeconds> all = seconds_;
    if (frames_) SumStages(frames_->stream()->Seconds(), false, &all);
    return all;
  }

 private:
  FrameStreamOptions Options() const {
    const JobSpec& job = worker_->job();
    FrameStreamOptions options;
    options.seed = static_cast<uint64_t>(job.seed);
    options.batch_size = job.train.batch_size;
    options.left = static_cast<int32_t>(job.data.frames.context.left);
    options.right = static_cast<int32_t>(job.data.frames.context.right);
    return options;
  }

  void EndEpoch() {
    if (frames_) SumStages(frames_->stream()->Seconds(), false, &seconds_);
    frames_.reset();
    batch_ = FrameBatch();
  }

  FrameWorker* worker_;
  int number_, lanes_;
  std::optional<Frames> frames_;  // of the epoch
  FrameBatch batch_;
  std::vector<StageSeconds> seconds_;  // of the epochs before
};

std::unique_ptr<DataLane> FrameWorker::MakeLane(int number, int lanes, double) {
  return std::make_unique<FrameLane>(this, number, lanes);
}

}  // namespace

std::unique_ptr<WorkerTask> MakeFrameWorker(const WorkerTaskInput& input) {
  return std::make_unique<FrameWorker>(input);
}

}  // namespace mariana
