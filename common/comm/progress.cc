#include "common/comm/progress.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/base/error.h"

namespace mariana {
namespace {

// Ranges that a link is given at a time: enough to hide its latency, and no more, so that a bucket
// that was started earlier is not kept waiting by the many ranges of a later one.
constexpr int kMostUnderWay = 4;

}  // namespace

ProgressEngine::ProgressEngine(int worker, int workers, Clock* clock, Schedule schedule)
    : worker_(worker),
      clock_(clock),
      schedule_(std::move(schedule)),
      incoming_(workers),
      outgoing_(workers),
      work_(clock),
      done_(clock),
      buckets_(schedule_.size()),
      under_way_(static_cast<size_t>(workers)) {
  for (size_t phase = 0; phase < schedule_.size(); ++phase) {
    buckets_[phase].resize(schedule_[phase].size());
    for (size_t b = 0; b < schedule_[phase].size(); ++b) {
      for (const Lane& lane : schedule_[phase][b]) {
        LaneState state;
        state.key = {static_cast<Phase>(phase), static_cast<int>(b), lane.slice};
        state.steps = &lane.steps;
        state.bucket = &buckets_[phase][b];
        for (const Step& step : lane.steps) {
          if (step.receives() && SourceOf(&state, step.peer) == nullptr) {
            state.sources.push_back({step.peer, 0});
          }
        }
        buckets_[phase][b].lanes.push_back(std::move(state));
      }
    }
  }
}

ProgressEngine::~ProgressEngine() {
  Stop();
  Join();
}

void ProgressEngine::Run(std::function<void(int64_t, int64_t)> on_values,
                         std::function<void(const std::exception&)> failed) {
  on_values_ = std::move(on_values);
  failed_ = std::move(failed);
  thread_.emplace(clock_, StrCat("exchange of worker ", worker_), [this] {
    try {
      Loop();
    } catch (const std::exception& e) {
      failed_(e);
    }
  });
}

void ProgressEngine::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  work_.NotifyAll();
  done_.NotifyAll();
}

void ProgressEngine::Join() {
  if (thread_) thread_->Join();
}

ProgressEngine::BucketState* ProgressEngine::StateOf(Phase phase, int bucket) {
  auto& states = buckets_[static_cast<size_t>(phase)];
  CHECK(0 <= bucket && bucket < static_cast<int>(states.size())) << "bucket " << bucket;
  return &states[bucket];
}

ProgressEngine::Source* ProgressEngine::SourceOf(LaneState* lane, int peer) {
  for (Source& s : lane->sources) {
    if (s.peer == peer) return &s;
  }
  return nullptr;
}

// ---- the trainer's thread

void ProgressEngine::Start(Phase phase, int bucket) {
  BucketState* const b = StateOf(phase, bucket);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    CHECK_EQ(b->unfinished, 0) << "bucket " << bucket << " is started again while under way";
    for (LaneState& lane : b->lanes) {
      lane.next = 0;
      if (lane.steps->empty()) continue;
      ++b->unfinished;
      if (phase == Phase::kCollect && lane.key.slice == worker_) ++unowned_;
    }
    if (b->unfinished > 0) active_.push_back(b);
  }
  bool ready = false;
  for (LaneState& lane : b->lanes) {
    if (lane.steps->empty()) continue;
    Steps publish;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      publish = Advance(&lane);
      ready |= Ready(&lane);
    }
    Publish(lane, publish);
  }
  if (ready) work_.NotifyOne();
}

bool ProgressEngine::AtRest(Phase phase, int bucket) {
  std::lock_guard<std::mutex> lock(mutex_);
  return StateOf(phase, bucket)->unfinished == 0;
}

void ProgressEngine::Drain() {
  for (Link* link : outgoing_) {
    if (link != nullptr) link->Drain();
  }
}

void ProgressEngine::Wait(const int* count) {
  std::unique_lock<std::mutex> lock(mutex_);
  awaited_ = count;
  done_.Wait(&lock, [&] { return *count == 0 || stopped_; });
  awaited_ = nullptr;
}

// ---- the neighbours' threads

void ProgressEngine::Arrived(const LaneKey& key, int from) {
  bool ready;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    LaneState* const lane = &StateOf(key.phase, key.bucket)->lanes[key.slice];
    Source* const source = SourceOf(lane, from);
    CHECK(source != nullptr) << "worker " << worker_ << " expects nothing from " << from;
    CHECK_LE(++source->published, static_cast<int64_t>(lane->steps->size()));
    ready = source->published == 1 && Ready(lane);
  }
  if (ready) work_.NotifyOne();
}

// ---- the progress thread

void ProgressEngine::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    LaneState* lane = nullptr;
    work_.Wait(&lock, [&] { return stopped_ || (lane = FindReady()) != nullptr; });
    if (stopped_) return;
    if (lane->state == State::kLanded) {
      Land(lane, &lock);
    } else {
      Receive(lane, &lock);
    }
  }
}

bool ProgressEngine::Ready(LaneState* lane) const {
  if (lane->state == State::kWaiting) {
    const int peer = (*lane->steps)[lane->next].peer;
    return under_way_[static_cast<size_t>(peer)] < kMostUnderWay &&
           SourceOf(lane, peer)->published > 0;
  }
  return lane->state == State::kLanded;
}

ProgressEngine::LaneState* ProgressEngine::FindReady() {
  for (BucketState* b : active_) {
    for (size_t i = 0; i < b->lanes.size(); ++i) {
      LaneState* const lane = &b->lanes[(b->turn + i) % b->lanes.size()];
      if (Ready(lane)) return lane;
    }
  }
  return nullptr;
}

void ProgressEngine::Receive(LaneState* lane, std::unique_lock<std::mutex>* lock) {
  const Step& step = (*lane->steps)[lane->next];
  --SourceOf(lane, step.peer)->published;
  lane->state = State::kMoving;
  ++under_way_[static_cast<size_t>(step.peer)];
  lock->unlock();
  incoming_[step.peer]->Receive(lane->key, step, [this, lane, peer = step.peer] {
    {
      std::lock_guard<std::mutex> landed(mutex_);
      --under_way_[static_cast<size_t>(peer)];
      lane->state = State::kLanded;
    }
    work_.NotifyOne();
  });
  lock->lock();
}

void ProgressEngine::Land(LaneState* lane, std::unique_lock<std::mutex>* lock) {
  const Step& step = (*lane->steps)[lane->next];
  lock->unlock();
  incoming_[step.peer]->Land(lane->key, step);
  if (step.kind == Step::Kind::kCopy && on_values_) {
    on_values_(step.range.begin, step.range.size());
  }
  lock->lock();
  ++lane->next;
  const Steps publish = Advance(lane);
  lane->bucket->turn = lane->key.slice + 1;
  const bool done = awaited_ != nullptr && *awaited_ == 0;
  lock->unlock();
  Publish(*lane, publish);
  if (done) done_.NotifyOne();
  lock->lock();
}

// Moves on to the next step that receives, or the end; what lies between is to be published, by
// the caller and unlocked.
ProgressEngine::Steps ProgressEngine::Advance(LaneState* lane) {
  const size_t begin = lane->next;
  const auto receives = [](const Step& s) { return s.receives(); };
  lane->next = std::find_if(lane->steps->begin() + begin, lane->steps->end(), receives) -
               lane->steps->begin();
  const bool end = lane->next == lane->steps->size();
  lane->state = end ? State::kResting : State::kWaiting;
  if (end && --lane->bucket->unfinished == 0) {
    active_.erase(std::find(active_.begin(), active_.end(), lane->bucket));
  }
  if (end && lane->key.phase == Phase::kCollect && lane->key.slice == worker_) --unowned_;
  return {begin, lane->next};
}

void ProgressEngine::Publish(const LaneState& lane, Steps steps) {
  for (size_t i = steps.begin; i < steps.end; ++i) {
    const Step& step = (*lane.steps)[i];
    outgoing_[step.peer]->Publish(lane.key, step.range);
  }
}

}  // namespace mariana
