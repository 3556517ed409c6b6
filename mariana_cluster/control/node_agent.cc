#include "mariana_cluster/control/node_agent.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "common/base/clock.h"
#include "common/train/run_log.h"
#include "common/train/train_meter.h"

namespace mariana {
namespace {

constexpr int64_t kListenMs = 5;
constexpr int64_t kTellNs = 50'000'000, kTraceNs = 250'000'000;

}  // namespace

void MakeNodeMemory(Place place, const NodeCrew& crew, JobMemory* memory) {
  memory->place = place;
  memory->lanes = LaneQueue::Create(crew.workers());
  memory->trace = TraceBoard::Create(crew.servers() + crew.workers());
}

void LetAgentsGo(World* world, int exit_code) {
  const Envelope leave{Envelope::kAgent, {"leave", exit_code, "", {}}, ""};
  for (int n = 1; n < world->size(); ++n) world->Send(n, World::kAgentsTag, leave.ToBytes());
}

int NodeAgent::Run() {
  try {
    return RunToEnd();
  } catch (const Error& e) {
    if (crew_ && e.code() == ExitCode::kLostWorkers) crew_->agent()->Abandon();
    throw;
  }
}

int NodeAgent::RunToEnd() {
  while (!code_) {
    while (!code_) {
      std::optional<std::string> order = world_->TryReceive(0, World::kAgentsTag);
      if (!order) break;
      Obey(Envelope::FromBytes(*order));
    }
    if (!crew_) {
      Clock::Real()->SleepFor(kListenMs * 1'000'000);
      continue;
    }
    if (std::optional<NodeCrew::Report> r = crew_->Next(kListenMs)) Tell(r->member, r->message);
    if (const int signal = crew_->board()->stop_signal(); signal != 0 && !told_stop_) {
      told_stop_ = true;
      Tell(Envelope::kAgent, {"stop", signal, "", {}});
    }
    TellState();
  }
  return *code_;
}

void NodeAgent::Tell(int member, const Message& message) {
  world_->Send(0, World::kAgentsTag, Envelope{member, message, ""}.ToBytes());
}

void NodeAgent::Obey(const Envelope& order) {
  const Message& m = order.message;
  if (order.member != Envelope::kAgent) {
    crew_->Command(order.member, m, order.answer);
  } else if (m.kind == "job") {
    StartServers(NodeJob::FromBytes(m.body));
  } else if (m.kind == "memory") {
    StartWorkers(NodeMemory::FromBytes(m.body));
  } else if (m.kind == "begin") {
    const NodeEpoch epoch = NodeEpoch::FromBytes(m.body);
    crew_->BeginEpoch(epoch.lanes, epoch.here);
    epoch_ = epoch.number;
  } else if (m.kind == "steps") {
    crew_->Grant(FromBody<StepsGrant>(m.body));
  } else if (m.kind == "lane") {
    memory_.lanes->Accept(static_cast<int>(m.number), 0);
  } else if (m.kind == "give") {
    Tell(Envelope::kAgent, {"given", memory_.lanes->Release(), "", {}});
  } else if (m.kind == "over") {
    memory_.lanes->EndElsewhere();
  } else if (m.kind == "state") {
    Tell(Envelope::kAgent, {"state", 1, State(true).ToBytes(), {}});
  } else if (m.kind == "trace") {
    if (trace_) trace_->Obey(m.body);
  } else if (m.kind == "stop") {
    told_stop_ = true;
    if (crew_) crew_->board()->RequestStop(static_cast<int>(m.number));
  } else if (m.kind == "end") {
    crew_->End();
    trace_.reset();
    crew_.reset();
  } else {
    CHECK_EQ(m.kind, "leave");
    code_ = static_cast<int>(m.number);
  }
}

void NodeAgent::StartServers(const NodeJob& job) {
  LogToFolder(job.start.log_path, job.start.first_rank - 1);
  crew_ = std::make_unique<NodeCrew>(job.servers, job.workers, job.outlive);
  memory_.place = job.start.place;
  memory_.shards = crew_->StartServers(job.start);
  Tell(Envelope::kAgent, {"servers", 0, Packed(crew_->endpoints()), {}});
}

void NodeAgent::StartWorkers(const NodeMemory& memory) {
  memory_.measured = memory.measured;
  memory_.endpoints = memory.endpoints;
  memory_.progress = RunProgress::Create(crew_->workers(), 0);
  MakeNodeMemory(memory_.place, *crew_, &memory_);
  if (memory.dense_elements > 0) {
    memory_.dense = DenseParameters::Create(memory.dense_elements, memory.dense_slots);
    memory_.dense->SetArenas(memory.dense);
    memory_.mirror = DenseMirror::Create(*memory_.dense, memory_.place.nodes, memory_.place.node);
    memory_.mirror->Start(memory_.dense->values());
  }
  crew_->StartWorkers(&memory_);
  trace_ = std::make_unique<NodeTrace>(World::ThisNode(), crew_->servers(), crew_->board(),
                                       &*memory_.progress, &*memory_.trace);
  Tell(Envelope::kAgent, {"ready", 0, "", {}});
}

// `whole`: with what costs time to find out.
NodeState NodeAgent::State(bool whole) const {
  NodeState s;
  s.epoch = epoch_;
  s.totals = memory_.progress->totals();
  s.cpu_seconds = CpuSeconds() + crew_->agent()->CpuSeconds();
  if (whole) s.memory_bytes = crew_->agent()->MemoryBytes();
  s.waiting = memory_.lanes->waiting();
  s.idle = std::max(0, crew_->workers() - memory_.lanes->taken());
  for (const int lane : memory_.lanes->here()) {
    s.lanes.push_back({lane, memory_.lanes->position(lane)});
  }
  return s;
}

void NodeAgent::TellState() {
  if (!trace_) return;
  const int64_t now = Clock::Real()->NowNs();
  if (now - told_ns_ < kTellNs) return;
  told_ns_ = now;
  Tell(Envelope::kAgent, {"state", 0, State(false).ToBytes(), {}});
  if (now - traced_ns_ < kTraceNs) return;
  traced_ns_ = now;
  Tell(Envelope::kAgent, {"trace", 0, trace_->Report(), {}});
}

}  // namespace mariana
