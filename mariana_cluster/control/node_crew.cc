#include "mariana_cluster/control/node_crew.h"

#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kTickMs = 100;

}  // namespace

NodeCrew::NodeCrew(int servers, int workers, bool outlive)
    : servers_(servers),
      workers_(workers),
      outlive_(outlive),
      agent_(servers + workers),
      pending_(static_cast<size_t>(servers + workers)),
      shards_(static_cast<size_t>(servers)),
      has_shards_(static_cast<size_t>(servers), 0),
      endpoints_(static_cast<size_t>(servers)) {}

// What a member is told first, and again in its next life.
void NodeCrew::Introduce(int member) {
  ServerRemains remains;
  if (IsServer(member) && !ledgers_.empty()) {
    remains.ledger = ledgers_[static_cast<size_t>(member)].fd();
  }
  if (IsServer(member) && has_shards_[static_cast<size_t>(member)]) {
    remains.endpoint = endpoints_[static_cast<size_t>(member)];
    for (const auto& s : shards_[static_cast<size_t>(member)]) remains.shards.push_back(s->fd());
  }
  SendJob(&agent_, member, IndexOf(member), job_, remains);
  if (memory_ != nullptr) SendMemory(&agent_, member, *memory_);
  for (const Pending& p : pending_[static_cast<size_t>(member)]) agent_.Send(member, p.message);
}

bool NodeCrew::TakeShards(int server, const Message& message) {
  const auto s = static_cast<size_t>(server);
  if (has_shards_[s]) {  // it was given them
    for (const int fd : message.fds) close(fd);
    return false;
  }
  for (const int fd : message.fds) {
    shards_[s].push_back(std::make_shared<TableShard>(TableShard::Attach(fd)));
  }
  endpoints_[s] = message.body;
  has_shards_[s] = 1;
  return true;
}

// What others say meanwhile is told later.
void NodeCrew::AwaitFromEach(int count, const char* kind) {
  std::vector<char> said(static_cast<size_t>(count), 0);
  while (count > 0) {
    std::optional<Report> report = Hear(kTickMs);
    if (!report) continue;
    if (report->message.kind != kind) {
      told_.push_back(std::move(*report));
    } else if (!std::exchange(said[static_cast<size_t>(report->member)], 1)) {
      --count;
    }
  }
}

std::vector<std::vector<std::shared_ptr<TableShard>>> NodeCrew::StartServers(const JobStart& job) {
  job_ = job;
  for (int s = 0; s < servers_ && job.place.nodes > 1; ++s) {
    ledgers_.push_back(PushLedger::Create());
  }
  for (int s = 0; s < servers_; ++s) {
    Introduce(agent_.Start({StrCat("server ", s), {"server"}, 0, outlive_}));
  }
  AwaitFromEach(servers_, "shards");
  std::vector<std::vector<std::shared_ptr<TableShard>>> by_table(shards_[0].size());
  for (const auto& of_server : shards_) {
    for (size_t t = 0; t < of_server.size(); ++t) by_table[t].push_back(of_server[t]);
  }
  return by_table;
}

void NodeCrew::StartWorkers(JobMemory* memory) {
  memory_ = memory;
  for (int s = 0; s < servers_; ++s) SendMemory(&agent_, s, *memory);
  for (int w = 0; w < workers_; ++w) {
    Introduce(agent_.Start({StrCat("worker ", w), {"worker"}, 0}));
  }
  AwaitFromEach(servers_ + workers_, "ready");
  started_ = true;
}

void NodeCrew::BeginEpoch(const std::vector<LanePosition>& lanes, const std::vector<int>& here) {
  memory_->lanes->Begin(lanes, here);
  for (int w = 0; w < workers_; ++w) board()->SetClock(servers_ + w, 0);
}

void NodeCrew::Grant(const StepsGrant& steps) {
  memory_->progress->SetLimit(0);  // none at a wrong number
  memory_->progress->SetSteps(steps.first, steps.stride);
  memory_->progress->SetLimit(steps.limit);
}

void NodeCrew::Command(int member, const Message& message, const std::string& answer) {
  if (!answer.empty()) pending_[static_cast<size_t>(member)].push_back({message, answer});
  agent_.Send(member, message);  // one that is gone gets it in its next life
}

// The next life of a member that was killed; the line that tells.
Message NodeCrew::Revive(int member, const std::string& how) {
  const bool applies = IsServer(member) && memory_ != nullptr && memory_->ordered.has_value();
  if (applies) agent_.End(Error(ExitCode::kLostWorkers, how));
  if (memory_ != nullptr && memory_->dense) memory_->dense->ReleaseOf(agent_.pid(member));
  std::string text = StrCat(how, "; started again");
  if (!IsServer(member) && memory_ != nullptr) {
    for (const int lane : memory_->lanes->HandBack(IndexOf(member))) {
      text +=
          StrCat(", lane ", lane, " goes on at batch ", memory_->lanes->position(lane).batches + 1);
    }
  }
  agent_.Restart(member);
  Introduce(member);
  return {"lost", 0, text, {}};
}

std::optional<NodeCrew::Report> NodeCrew::Next(int64_t timeout_ms) {
  if (told_.empty()) return Hear(timeout_ms);
  Report report = std::move(told_.front());
  told_.erase(told_.begin());
  return report;
}

std::optional<NodeCrew::Report> NodeCrew::Hear(int64_t timeout_ms) {
  Agent::Event e = agent_.Next(timeout_ms);
  if (e.kind == Agent::Event::Kind::kLost) return Report{e.member, Revive(e.member, e.how)};
  if (e.kind == Agent::Event::Kind::kEnded) {
    agent_.End(Fail(ExitCode::kInternal, board()->Describe(e.member), " ended unasked"));
  }
  if (e.kind != Agent::Event::Kind::kMessage) return std::nullopt;
  if (e.message.kind == "shards" && !TakeShards(e.member, e.message)) return std::nullopt;
  if (e.message.kind == "ready" && started_) return std::nullopt;  // in its next life
  auto& pending = pending_[static_cast<size_t>(e.member)];
  const auto answered = std::find_if(pending.begin(), pending.end(),
                                     [&](const Pending& p) { return p.answer == e.message.kind; });
  if (answered != pending.end()) pending.erase(answered);
  return Report{e.member, std::move(e.message)};
}

void NodeCrew::End() {
  agent_.SendAll({"end", 0, "", {}});
  while (agent_.running() > 0) agent_.Next(kTickMs);
}

}  // namespace mariana
