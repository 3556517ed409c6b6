#include "mariana_cluster/worker.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "mariana_cluster/verbs.h"

namespace mariana {
Worker::Worker(Member* me) : me_(me) {
  const ReceivedJob job = ReceiveJob(me_);
  LoadConfigText(job.yaml, "the agent's job", "/", {}, [this](Fields* f) { job_.Describe(f); });
  const int workers = static_cast<int>(job_.parallel.workers);
  index_ = job.index;
  number_ = job.place.node * workers + index_;
  workers_ = job.place.nodes * workers;
  memory_ = ReceiveMemory(me_, job.place);
  const WorkerTaskInput input{&job_, index_, &memory_, [this](const Message& m) { Send(m); }};
  task_ = job_.trains_frames() ? MakeFrameWorker(input) : MakeClickWorker(input);
  if (memory_.ordered) update_ = std::make_unique<BlockUpdate>(memory_.ordered->servers());
}

void Worker::Send(const Message& message) {
  std::unique_lock<std::mutex> lock(send_mutex_);
  me_->Send(message);
}

// ---- lanes

void Worker::CutInto(int lanes) {
  if (lanes == lanes_) return;
  held_ = nullptr;
  readings_.clear();
  lanes_ = lanes;
}

// Lanes beyond this worker's share were another's: their rows go to the cache's folder.
Worker::Reading* Worker::ReadingOf(int lane) {
  Reading& reading = readings_[lane];
  if (reading.lane == nullptr) {
    const int share = (lanes_ + workers_ - 1) / workers_;
    const bool within = readings_.size() <= static_cast<size_t>(share);
    reading.number = lane;
    reading.lane = task_->MakeLane(lane, lanes_, within ? 1.0 / share : 0);
  }
  return &reading;
}

// Those dealt to this worker once for all: blocks, and parts of the held-out data.
std::vector<Worker::Reading*> Worker::OwnReadings() {
  std::vector<Reading*> own;
  for (int l = number_; l < lanes_; l += workers_) own.push_back(ReadingOf(l));
  return own;
}

int Worker::Run() {
  Send({"ready", 0, "", {}});
  for (;;) {
    memory_.writer.SetState(ProcessState::kIdle);
    const Message m = me_->Receive();
    if (m.kind == "train") {
      memory_.writer.SetState(ProcessState::kTraining);
      const PausedReport report = Train(FromBody<TrainCommand>(m.body));
      task_->SendScores(ScoresOf::kTraining);
      Send({"paused", 0, ToBody(report), {}});
    } else if (m.kind == "evaluate") {
      memory_.writer.SetState(ProcessState::kEvaluating);
      Evaluate(static_cast<int>(m.number));
    } else if (m.kind == "times") {
      Send({"times", 0, Times(), {}});
    } else {
      CHECK_EQ(m.kind, "end");
      memory_.writer.SetState(ProcessState::kEnded);
      return 0;
    }
  }
}

// ---- training

void Worker::StartEpoch(const TrainCommand& command) {
  epoch_ = command.epoch;
  held_ = nullptr;
  if (memory_.ordered) return;
  CutInto(memory_.lanes->lanes());
}

// The round to go on with: the command's, unless this worker takes the place of one that was killed
// in a later one, some of whose blocks may have been put.
int64_t Worker::StartRounds(const TrainCommand& command) {
  CutInto(memory_.ordered->blocks());
  int64_t round = std::numeric_limits<int64_t>::max();
  for (const Reading* r : OwnReadings()) {
    round = std::min(round, memory_.ordered->RoundsPut(r->number));
  }
  if (round == std::numeric_limits<int64_t>::max()) round = command.round;  // it has no block
  rounds_ = command.first_batch + round - command.round;
  for (Reading* r : OwnReadings()) {
    r->ended = r->taken = false;
    r->lane->StartEpoch(command.epoch, rounds_);
    if (!Advance(r)) memory_.progress->SetLaneEnd(r->number, rounds_);
  }
  return round;
}

// Takes the lane's next batch; false at its end.
bool Worker::Advance(Reading* reading) {
  const int64_t begin = Clock::Real()->NowNs();
  reading->taken = reading->lane->Next();
  reading->ended = !reading->taken;
  AddTime(WorkerStage::kData, begin);
  return reading->taken;
}

// From then to now.
void Worker::AddTime(WorkerStage stage, int64_t begin_ns) {
  const int64_t now = Clock::Real()->NowNs();
  memory_.progress->AddNs(index_, stage, now - begin_ns);
  memory_.writer.AddSpan(SpanOf(stage), begin_ns, now);
}

// The lane's step of this number is done, its batch the `batch`-th of the epoch.
void Worker::Count(const Reading& reading, int64_t step, int64_t batch, const StepSums& sums) {
  memory_.progress->Count(index_, sums.samples, sums.loss, sums.weight);
  TraceWriter* const trace = &memory_.writer;
  trace->AddKeys(sums.keys, sums.keys);
  trace->SetPlace(reading.number, batch);
  const DataLane::Queued queued = reading.lane->queued();
  trace->SetQueue(queued.now, queued.most);
  // Those that were applied in their order saw each other's updates.
  if (!memory_.ordered) trace->AddStaleness(memory_.progress->BegunSince(step));
}

bool Worker::Pauses() const { return me_->stopping() || memory_.progress->AtLimit(); }

// Several nodes: waits until they have exchanged the net's values, when it has taken as many steps
// as it may without.
void Worker::AwaitDenseRound() {
  if (!memory_.mirror || job_.parallel.dense_steps == 0) return;
  const auto exchanged = [this] { return memory_.mirror->rounds() != dense_round_; };
  if (!exchanged() && dense_steps_ >= job_.parallel.dense_steps) {
    const int64_t begin = Clock::Real()->NowNs();
    memory_.writer.SetState(ProcessState::kWaiting);
    me_->board()->Poll([&] { return Pauses() || exchanged(); });
    memory_.writer.SetState(ProcessState::kTraining);
    AddTime(WorkerStage::kWait, begin);
  }
  if (exchanged()) {
    dense_round_ = memory_.mirror->rounds();
    dense_steps_ = 0;
  }
  ++dense_steps_;
}

// Waits where the mode says so; false when training pauses here.
bool Worker::MayTakeStep() {
  AwaitDenseRound();
  const ClusterSpec& p = job_.parallel;
  if (p.mode == Mode::kAsync && p.staleness == 0) return !Pauses();
  const int64_t begin = Clock::Real()->NowNs();
  const int first = me_->number() - index_, count = static_cast<int>(p.workers);
  const int64_t wanted = me_->board()->clock(me_->number()) - p.staleness;
  memory_.writer.SetState(ProcessState::kWaiting);
  me_->board()->Wait([&] { return Pauses() || me_->board()->Slowest(first, count) >= wanted; },
                     StrCat("the slowest worker to reach step ", wanted));
  memory_.writer.SetState(ProcessState::kTraining);
  AddTime(WorkerStage::kWait, begin);
  return !Pauses();
}

// Waits for one where others may yet hand theirs back; false when training pauses or has no more.
// Who has none holds nobody back, and is as far as the slowest when it has one again.
bool Worker::TakeLane() {
  Board* board = me_->board();
  LaneQueue* lanes = &*memory_.lanes;
  const int me = me_->number();
  int lane;
  while ((lane = lanes->Take(index_)) == LaneQueue::kNone) {
    board->Leave(me);
    const int64_t begin = Clock::Real()->NowNs();
    memory_.writer.SetState(ProcessState::kWaiting);
    board->Poll([&] { return Pauses() || lanes->MayTake(index_) || lanes->AllEnded(); });
    memory_.writer.SetState(ProcessState::kTraining);
    AddTime(WorkerStage::kWait, begin);
    if (!lanes->MayTake(index_)) return false;
  }
  if (board->HasLeft(me)) {
    const int first = me - index_, count = static_cast<int>(job_.parallel.workers);
    const int64_t slowest = board->Slowest(first, count);
    board->SetClock(me, slowest == std::numeric_limits<int64_t>::max() ? 0 : slowest);
  }
  held_ = ReadingOf(lane);
  held_->taken = false;
  held_->lane->StartEpoch(epoch_, lanes->position(lane).batches);
  return true;
}

// The rest of a lane. False when training pauses, in its midst or because there is none left.
bool Worker::TrainLane() {
  if (held_ == nullptr && !TakeLane()) return false;
  int64_t step;
  while (held_->taken || Advance(held_)) {
    if (!MayTakeStep() || !memory_.progress->TakeStep(&step)) return false;
    const StepSums sums = held_->lane->Train(step);
    // A worker killed before this line has its last batch trained once more; after it, not.
    memory_.lanes->Count(held_->number);
    Count(*held_, step, memory_.lanes->position(held_->number).batches, sums);
    held_->taken = false;
    me_->board()->Advance(me_->number());
  }
  memory_.lanes->End(std::exchange(held_, nullptr)->number);
  return true;
}

PausedReport Worker::Train(const TrainCommand& command) {
  task_->set_epoch_steps(command.epoch_steps);
  const bool begins = command.begins || epoch_ < 0;  // it may be new here
  if (begins) StartEpoch(command);
  if (memory_.ordered) {
    round_ = begins ? StartRounds(command) : command.round;
    TrainRounds(command);
  } else {
    while (TrainLane()) {
    }
  }
  task_->Drain();
  return {rounds_, task_->bad_rows()};
}

void Worker::TrainRounds(const TrainCommand& command) {
  OrderedUpdates* ordered = &*memory_.ordered;
  const std::vector<Reading*> own = OwnReadings();
  for (; round_ < command.end_round; ++round_, ++rounds_) {
    const int64_t begin = Clock::Real()->NowNs();
    const bool goes_on = ordered->Await(me_->board(), round_);
    AddTime(WorkerStage::kWait, begin);
    if (!goes_on) return;
    if (memory_.progress->LanesEnded(rounds_)) {
      ordered->EndAfter(round_ - 1);
      return;
    }
    // Only who has a block of the round to put may end it: nobody is beyond it then.
    if (me_->stopping() && !own.empty()) ordered->EndAfter(round_);
    task_->Pull();
    for (Reading* r : own) TrainBlock(round_, r);
  }
}

void Worker::TrainBlock(int64_t round, Reading* reading) {
  const bool put = memory_.ordered->RoundsPut(reading->number) > round;  // by who was here before
  if (reading->ended) {
    update_->Clear();
  } else {
    if (!put) {
      const int64_t step = round * memory_.ordered->blocks() + reading->number;
      Count(*reading, step, rounds_ + 1, reading->lane->Collect(step, update_.get()));
    }
    // Told before the block is, so that all see it before the next round.
    if (!Advance(reading)) memory_.progress->SetLaneEnd(reading->number, rounds_ + 1);
  }
  if (!put) memory_.ordered->Put(me_->board(), round, reading->number, update_->sections());
}

void Worker::Evaluate(int lanes) {
  CutInto(lanes);
  task_->Pull();
  for (Reading* r : OwnReadings()) {
    r->lane->Score(evaluations_, [this] { return me_->stopping(); });
  }
  ++evaluations_;
  task_->SendScores(ScoresOf::kHeldOut);
  Send({"evaluated", 0, "", {}});
}

std::string Worker::Times() const {
  std::string text;
  for (const auto& [lane, reading] : readings_) {
    for (const StageSeconds& s : reading.lane->Seconds()) {
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
