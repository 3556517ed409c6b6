#include "mariana_cluster/crew.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kTickMs = 100, kListenMs = 5;  // alone; where other nodes may have something
constexpr int64_t kLookNs = 50'000'000;          // at what nodes have to do

}  // namespace

Crew::Crew(const Options& options, World* world, Listener listener)
    : options_(options),
      world_(world),
      listener_(std::move(listener)),
      node_(options.servers, options.workers, options.outlive),
      far_(static_cast<size_t>(world->size() - 1)) {}

Crew::Address Crew::ServerAt(int server) const {
  return {server / node_.servers(), server % node_.servers()};
}

Crew::Address Crew::WorkerAt(int worker) const {
  return {worker / node_.workers(), node_.servers() + worker % node_.workers()};
}

// ---- speaking

void Crew::Command(const Address& to, const Message& message, const char* answer) {
  if (to.node == 0) return node_.Command(to.member, message, answer);
  world_->Send(to.node, World::kAgentsTag, Envelope{to.member, message, answer}.ToBytes());
}

void Crew::TellAgent(int node, const Message& message) {
  world_->Send(node, World::kAgentsTag, Envelope{Envelope::kAgent, message, ""}.ToBytes());
}

void Crew::TellAgents(const Message& message) {
  for (int n = 1; n < nodes(); ++n) TellAgent(n, message);
}

// ---- listening

// From anywhere; the time counts where nothing has come.
std::optional<Crew::Heard> Crew::Hear(int64_t timeout_ms) {
  own_turn_ = !own_turn_;  // so that neither side waits for the other to fall silent
  if (std::optional<NodeCrew::Report> r; own_turn_ && !far_.empty() && (r = node_.Next(0))) {
    return Heard{0, r->member, std::move(r->message)};
  }
  for (int n = 1; n < nodes(); ++n) {
    if (std::optional<std::string> bytes = world_->TryReceive(n, World::kAgentsTag)) {
      Envelope e = Envelope::FromBytes(*bytes);
      return Heard{n, e.member, std::move(e.message)};
    }
  }
  std::optional<NodeCrew::Report> r = node_.Next(timeout_ms);
  if (!r) return std::nullopt;
  return Heard{0, r->member, std::move(r->message)};
}

void Crew::Lost(const std::string& how) {
  if (++losses_ > options_.restarts) {
    node_.agent()->End(Fail(ExitCode::kLostWorkers, how, "; that is one more than ",
                            options_.restarts, " (parallel.restarts)"));
  }
  listener_.warning(how);
}

bool Crew::HandleAgent(int node, const Message& m) {
  Far& far = far_[static_cast<size_t>(node - 1)];
  if (m.kind == "state") TakeState(node, m.body, m.number != 0);
  if (m.kind == "trace") listener_.trace(node, m.body);
  if (m.kind == "stop") board()->RequestStop(static_cast<int>(m.number));
  if (m.kind == "servers") far.endpoints = Unpacked(m.body);
  if (m.kind == "given") {
    far.asked_for_lane = false;
    if (m.number >= 0) MoveLane(static_cast<int>(m.number), far.lane_for);
  }
  const bool awaited = m.kind == awaited_of_agents_ && (m.kind != "state" || m.number != 0);
  if (awaited) ++agents_said_[static_cast<size_t>(node - 1)];
  return true;
}

bool Crew::Handle(Heard* heard) {
  const Message& m = heard->message;
  if (heard->member == Envelope::kAgent) return HandleAgent(heard->node, m);
  const std::string where = nodes() == 1 ? "" : StrCat("node ", heard->node, ": ");
  if (m.kind == "warning") {
    listener_.warning(where + m.body);
  } else if (m.kind == "lost") {
    Lost(where + m.body);
  } else if (m.kind == "scores") {
    listener_.scores(m);
  } else if (m.kind == "saved") {
    listener_.saved(heard->node * node_.servers() + heard->member, m);
  } else {
    return false;
  }
  return true;
}

// Where nothing is asked.
void Crew::Listen() {
  std::optional<Heard> heard = Hear(nodes() == 1 ? kTickMs : kListenMs);
  if (heard) {
    CHECK(Handle(&*heard)) << "node " << heard->node << ", member " << heard->member << " says "
                           << heard->message.kind << " unasked";
  }
  Control();
}

std::vector<Message> Crew::WaitFor(const std::vector<Question>& questions) {
  std::map<std::pair<int, int>, size_t> place;  // of who is asked, in the answers
  for (size_t i = 0; i < questions.size(); ++i) {
    place[{questions[i].to.node, questions[i].to.member}] = i;
  }
  std::vector<Message> answers(questions.size());
  while (!place.empty()) {
    std::optional<Heard> heard = Hear(nodes() == 1 ? kTickMs : kListenMs);
    const bool told = heard && Handle(&*heard);  // first: a count follows what was counted
    Control();
    if (!heard || told) continue;
    const auto asked = place.find({heard->node, heard->member});
    CHECK(asked != place.end() && questions[asked->second].answer == heard->message.kind)
        << "node " << heard->node << ", member " << heard->member << " says "
        << heard->message.kind;
    answers[asked->second] = std::move(heard->message);
    place.erase(asked);
  }
  return answers;
}

// Until each of the other nodes' agents has said this once more.
void Crew::AwaitAgents(const char* kind) {
  agents_said_.assign(far_.size(), 0);
  awaited_of_agents_ = kind;
  while (std::count(agents_said_.begin(), agents_said_.end(), 0) > 0) Listen();
  awaited_of_agents_.clear();
}

// What is due several times a second.
void Crew::Control() {
  const int64_t now = Clock::Real()->NowNs();
  if (now - looked_ns_ < kLookNs) return;
  looked_ns_ = now;
  listener_.tick();
  if (far_.empty()) return;
  if (stopping() && !told_stop_) {
    told_stop_ = true;
    TellAgents({"stop", board()->stop_signal(), "", {}});
  }
  if (const std::string order = listener_.order(); !order.empty()) {
    TellAgents({"trace", 0, order, {}});
  }
  if (training_) MoveLanes();
}

// ---- the crew begins

std::vector<std::vector<std::shared_ptr<TableShard>>> Crew::StartServers(const JobStart& job) {
  const int members = node_.servers() + node_.workers();
  const auto start_of = [&](int node) {
    JobStart start = job;
    start.place = {node, nodes()};
    start.first_rank = 1 + node * (1 + members);  // before them their agent
    return start;
  };
  for (int n = 1; n < nodes(); ++n) {
    const NodeJob node{start_of(n), node_.servers(), node_.workers(), options_.outlive};
    TellAgent(n, {"job", 0, node.ToBytes(), {}});
  }
  auto shards = node_.StartServers(start_of(0));
  AwaitAgents("servers");
  return shards;
}

std::vector<std::string> Crew::endpoints() const {
  if (far_.empty()) return {};
  std::vector<std::string> all = node_.endpoints();
  for (const Far& f : far_) all.insert(all.end(), f.endpoints.begin(), f.endpoints.end());
  return all;
}

void Crew::StartWorkers(JobMemory* memory) {
  memory_ = memory;
  if (!far_.empty()) {
    NodeMemory far;
    if (memory->dense) {
      far = {memory->dense->elements(), memory->dense->slots(), memory->dense->Arenas(), "", {}};
    }
    far.measured = memory->measured;
    far.endpoints = memory->endpoints;
    TellAgents({"memory", 0, far.ToBytes(), {}});
  }
  node_.StartWorkers(memory);
  AwaitAgents("ready");
}

// ---- questions

std::vector<Message> Crew::AskWorkers(const std::function<Message(int)>& message,
                                      const char* answer) {
  std::vector<Question> questions;
  for (int w = 0; w < workers(); ++w) {
    questions.push_back({WorkerAt(w), answer});
    Command(WorkerAt(w), message(w), answer);
  }
  training_ = std::string_view(answer) == "paused";
  std::vector<Message> answers = WaitFor(questions);
  training_ = false;
  return answers;
}

std::vector<Message> Crew::AskServers(const Message& message, const char* answer) {
  std::vector<Question> questions;
  for (int s = 0; s < servers(); ++s) {
    questions.push_back({ServerAt(s), answer});
    Command(ServerAt(s), message, answer);
  }
  return WaitFor(questions);
}

Crew::Answers Crew::AskAll(const std::function<Message(int)>& to_worker, const char* worker_answer,
                           const Message& to_server, const char* server_answer) {
  std::vector<Question> questions;
  for (int s = 0; s < servers(); ++s) {
    questions.push_back({ServerAt(s), server_answer});
    Command(ServerAt(s), to_server, server_answer);
  }
  for (int w = 0; w < workers(); ++w) {
    questions.push_back({WorkerAt(w), worker_answer});
    Command(WorkerAt(w), to_worker(w), worker_answer);
  }
  std::vector<Message> all = WaitFor(questions);
  Answers answers;
  answers.servers.assign(all.begin(), all.begin() + servers());
  answers.workers.assign(all.begin() + servers(), all.end());
  return answers;
}

void Crew::TellServer(int server, const Message& message, const char* answer) {
  Command(ServerAt(server), message, answer);
}

void Crew::WaitUntil(const std::function<bool()>& done) {
  while (!done()) Listen();
}

// Between the servers that are the first on their nodes.
void Crew::FlushDense() {
  if (far_.empty() || !memory_->dense) return;
  ++flushes_;
  std::vector<Question> questions;
  for (int n = 0; n < nodes(); ++n) {
    questions.push_back({{n, 0}, "flushed"});
    Command({n, 0}, {"flush", flushes_, "", {}}, "flushed");
  }
  WaitFor(questions);
}

double Crew::CpuSeconds() {
  double sum = node_.agent()->CpuSeconds();
  for (const Far& f : far_) sum += f.state.cpu_seconds;
  return sum;
}

int64_t Crew::MemoryBytes() {
  int64_t sum = node_.agent()->MemoryBytes();
  for (const Far& f : far_) sum += f.memory_bytes;
  return sum;
}

void Crew::End() {
  TellAgents({"end", 0, "", {}});
  node_.End();
}

}  // namespace mariana
