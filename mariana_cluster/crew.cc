#include "mariana_cluster/crew.h"

#include <glog/logging.h>

#include <optional>
#include <utility>

namespace mariana {
namespace {

constexpr int64_t kTickMs = 100;

}  // namespace

Crew::Crew(int servers, int workers, Listener listener)
    : servers_(servers),
      workers_(workers),
      listener_(std::move(listener)),
      agent_(servers + workers) {}

std::vector<Message> Crew::WaitFor(int first, int last,
                                   const std::function<std::string(int)>& kind) {
  std::vector<std::optional<Message>> answers(static_cast<size_t>(last - first));
  int missing = last - first;
  while (missing > 0) {
    Agent::Event e = agent_.Next(kTickMs);
    if (e.kind == Agent::Event::Kind::kMessage && e.message.kind == "warning") {
      listener_.warning(e.message.body);
    } else if (e.kind == Agent::Event::Kind::kMessage && e.message.kind == "scores") {
      listener_.scores(e.member - servers_, std::move(e.message));
    } else if (e.kind == Agent::Event::Kind::kMessage) {
      CHECK(e.member >= first && e.member < last && e.message.kind == kind(e.member))
          << agent_.board()->Describe(e.member) << " says " << e.message.kind;
      answers[static_cast<size_t>(e.member - first)] = std::move(e.message);
      --missing;
    } else if (e.kind == Agent::Event::Kind::kEnded) {
      throw Fail(ExitCode::kInternal, agent_.board()->Describe(e.member), " ended unasked");
    }
    listener_.tick();
  }
  std::vector<Message> all;
  for (auto& a : answers) all.push_back(std::move(*a));
  return all;
}

std::vector<std::vector<std::shared_ptr<TableShard>>> Crew::StartServers(const JobStart& job) {
  for (int s = 0; s < servers_; ++s) {
    SendJob(&agent_, agent_.Start({StrCat("server ", s), {"server"}, 0}), s, job);
  }
  std::vector<std::vector<std::shared_ptr<TableShard>>> shards;
  for (const Message& m : WaitFor(0, servers_, [](int) { return "shards"; })) {
    shards.resize(m.fds.size());
    for (size_t t = 0; t < m.fds.size(); ++t) {
      shards[t].push_back(std::make_shared<TableShard>(TableShard::Attach(m.fds[t])));
    }
  }
  return shards;
}

void Crew::StartWorkers(const JobStart& job, const JobMemory& memory) {
  for (int s = 0; s < servers_; ++s) SendMemory(&agent_, s, memory);
  for (int w = 0; w < workers_; ++w) {
    const int member = agent_.Start({StrCat("worker ", w), {"worker"}, 0});
    SendJob(&agent_, member, w, job);
    SendMemory(&agent_, member, memory);
  }
  WaitFor(0, servers_ + workers_, [](int) { return "ready"; });
}

std::vector<Message> Crew::AskWorkers(const std::function<Message(int)>& message,
                                      const char* answer) {
  for (int w = 0; w < workers_; ++w) agent_.Send(MemberOf(w), message(w));
  return WaitFor(servers_, servers_ + workers_, [&](int) { return answer; });
}

std::vector<Message> Crew::AskServers(const Message& message, const char* answer) {
  for (int s = 0; s < servers_; ++s) agent_.Send(s, message);
  return WaitFor(0, servers_, [&](int) { return answer; });
}

Crew::Answers Crew::AskAll(const std::function<Message(int)>& to_worker, const char* worker_answer,
                           const Message& to_server, const char* server_answer) {
  for (int s = 0; s < servers_; ++s) agent_.Send(s, to_server);
  for (int w = 0; w < workers_; ++w) agent_.Send(MemberOf(w), to_worker(w));
  std::vector<Message> all = WaitFor(
      0, servers_ + workers_, [&](int m) { return m < servers_ ? server_answer : worker_answer; });
  Answers answers;
  for (size_t i = 0; i < all.size(); ++i) {
    (i < static_cast<size_t>(servers_) ? answers.servers : answers.workers)
        .push_back(std::move(all[i]));
  }
  return answers;
}

void Crew::End() {
  agent_.SendAll({"end", 0, "", {}});
  while (agent_.running() > 0) agent_.Next(kTickMs);
}

}  // namespace mariana
