#include "mariana_cluster/worker.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "mariana_cluster/verbs.h"

namespace mariana {
Worker::Worker(Member* me) : me_(me) {
  ReadJob();
  memory_ = ReceiveMemory(me_);
  const WorkerTaskInput input{&job_, index_, &memory_, [this](const Message& m) { Send(m); }};
  task_ = job_.trains_frames() ? MakeFrameWorker(input) : MakeClickWorker(input);
  if (memory_.ordered) update_ = std::make_unique<BlockUpdate>(memory_.ordered->servers());
  MakeLanes();
}

void Worker::ReadJob() {
  const std::string yaml = ReceiveJob(me_, &index_);
  LoadConfigText(yaml, "the agent's job", "/", {}, [this](Fields* f) { job_.Describe(f); });
}

void Worker::Send(const Message& message) {
  std::unique_lock<std::mutex> lock(send_mutex_);
  me_->Send(message);
}

void Worker::MakeLanes() {
  const int workers = static_cast<int>(job_.parallel.workers);
  const bool ordered = memory_.ordered.has_value();
  const int lanes = ordered ? memory_.ordered->blocks() : workers;
  int mine = 0;
  for (int b = index_; b < lanes; b += workers) ++mine;
  for (int b = index_; b < lanes; b += workers) {
    lanes_.push_back({b, task_->MakeLane(b, lanes, mine)});
  }
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
      Evaluate();
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

// Where a resumed run with another number of workers goes on: at the same share of the epoch.
int64_t Worker::FirstBatch(const TrainCommand& command) const {
  if (command.done < 0) return command.first_batch;
  const double batches =
      task_->Batches(command.epoch, index_, static_cast<int>(job_.parallel.workers));
  return static_cast<int64_t>(std::llround(command.done * batches));
}

void Worker::StartEpoch(const TrainCommand& command) {
  batches_ = FirstBatch(command);
  for (Place& place : lanes_) {
    place.ended = place.taken = false;
    place.lane->StartEpoch(command.epoch, batches_);
    if (memory_.ordered && !Advance(&place)) memory_.progress->SetLaneEnd(place.number, batches_);
  }
}

// Takes the lane's next batch; false at its end.
bool Worker::Advance(Place* place) {
  const int64_t begin = Clock::Real()->NowNs();
  place->taken = place->lane->Next();
  place->ended = !place->taken;
  AddTime(WorkerStage::kData, begin);
  return place->taken;
}

// From then to now.
void Worker::AddTime(WorkerStage stage, int64_t begin_ns) {
  const int64_t now = Clock::Real()->NowNs();
  memory_.progress->AddNs(index_, stage, now - begin_ns);
  memory_.writer.AddSpan(SpanOf(stage), begin_ns, now);
}

// The lane's step of this number is done.
void Worker::Count(const Place& place, int64_t step, const StepSums& sums) {
  memory_.progress->Count(index_, sums.samples, sums.loss, sums.weight);
  TraceWriter* const trace = &memory_.writer;
  trace->AddKeys(sums.keys, sums.keys);
  trace->SetPlace(place.number, batches_);
  const DataLane::Queued queued = place.lane->queued();
  trace->SetQueue(queued.now, queued.most);
  // Those that were applied in their order saw each other's updates.
  if (!memory_.ordered) trace->AddStaleness(memory_.progress->steps() - 1 - step);
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
  memory_.writer.SetState(ProcessState::kWaiting);
  me_->board()->Wait([&] { return pauses() || me_->board()->Slowest(first, count) >= wanted; },
                     StrCat("the slowest worker to reach step ", wanted));
  memory_.writer.SetState(ProcessState::kTraining);
  AddTime(WorkerStage::kWait, begin);
  return !pauses();
}

PausedReport Worker::Train(const TrainCommand& command) {
  task_->set_epoch_steps(command.epoch_steps);
  if (command.begins) StartEpoch(command);
  if (memory_.ordered) {
    TrainRounds(command);
    return {batches_, false, task_->bad_rows()};
  }
  Place& place = lanes_[0];
  int64_t step;
  while (place.taken || Advance(&place)) {
    if (!MayTakeStep() || !memory_.progress->TakeStep(&step)) break;
    Count(place, step, place.lane->Train(step));
    ++batches_;
    me_->board()->Advance(me_->number());
    Advance(&place);
  }
  if (place.ended) me_->board()->Leave(me_->number());
  return {batches_, place.ended, task_->bad_rows()};
}

void Worker::TrainRounds(const TrainCommand& command) {
  OrderedUpdates* ordered = &*memory_.ordered;
  for (int64_t round = command.round; round < command.end_round; ++round, ++batches_) {
    const int64_t begin = Clock::Real()->NowNs();
    const bool goes_on = ordered->Await(me_->board(), round);
    AddTime(WorkerStage::kWait, begin);
    if (!goes_on) return;
    if (memory_.progress->LanesEnded(batches_)) {
      ordered->EndAfter(round - 1);
      return;
    }
    // Only who has a block of the round to put may end it: nobody is beyond it then.
    if (me_->stopping() && !lanes_.empty()) ordered->EndAfter(round);
    task_->Pull();
    for (Place& place : lanes_) TrainBlock(round, batches_, &place);
  }
}

void Worker::TrainBlock(int64_t round, int64_t round_of_epoch, Place* place) {
  if (place->ended) {
    update_->Clear();
  } else {
    const int64_t step = round * memory_.ordered->blocks() + place->number;
    Count(*place, step, place->lane->Collect(step, update_.get()));
    // Told before the block is, so that all see it before the next round.
    if (!Advance(place)) memory_.progress->SetLaneEnd(place->number, round_of_epoch + 1);
  }
  memory_.ordered->Put(me_->board(), round, place->number, update_->sections());
}

void Worker::Evaluate() {
  task_->Pull();
  for (Place& place : lanes_) {
    place.lane->Score(evaluations_, [this] { return me_->stopping(); });
  }
  ++evaluations_;
  task_->SendScores(ScoresOf::kHeldOut);
  Send({"evaluated", 0, "", {}});
}

std::string Worker::Times() const {
  std::string text;
  for (const Place& place : lanes_) {
    for (const StageSeconds& s : place.lane->Seconds()) {
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
