#include "mariana_cluster/crew.h"

#include <glog/logging.h>

#include <numeric>
#include <optional>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kTickMs = 100;

}  // namespace

Crew::Crew(int servers, int workers, int64_t restarts, Listener listener)
    : restarts_(restarts), listener_(std::move(listener)), node_(servers, workers) {}

void Crew::Lost(const std::string& how) {
  if (++losses_ > restarts_) {
    node_.agent()->End(Fail(ExitCode::kLostWorkers, how, "; that is one more than ", restarts_,
                            " (parallel.restarts)"));
  }
  listener_.warning(how);
}

std::vector<Message> Crew::WaitFor(int first, int last,
                                   const std::function<std::string(int)>& kind) {
  std::vector<std::optional<Message>> answers(static_cast<size_t>(last - first));
  int missing = last - first;
  while (missing > 0) {
    std::optional<NodeCrew::Report> r = node_.Next(kTickMs);
    listener_.tick();
    if (!r) continue;
    Message& m = r->message;
    if (m.kind == "warning") {
      listener_.warning(m.body);
    } else if (m.kind == "lost") {
      Lost(m.body);
    } else if (m.kind == "scores") {
      listener_.scores(r->member - servers(), std::move(m));
    } else {
      CHECK(r->member >= first && r->member < last && m.kind == kind(r->member))
          << board()->Describe(r->member) << " says " << m.kind;
      answers[static_cast<size_t>(r->member - first)] = std::move(m);
      --missing;
    }
  }
  std::vector<Message> all;
  for (auto& a : answers) all.push_back(std::move(*a));
  return all;
}

std::vector<std::vector<std::shared_ptr<TableShard>>> Crew::StartServers(const JobStart& job) {
  return node_.StartServers(job);
}

void Crew::StartWorkers(JobMemory* memory) {
  memory_ = memory;
  node_.StartWorkers(memory);
}

void Crew::BeginEpoch(const std::vector<LanePosition>& lanes) {
  std::vector<int> here(lanes.size());
  std::iota(here.begin(), here.end(), 0);
  node_.BeginEpoch(lanes, here);
}

std::vector<Message> Crew::AskWorkers(const std::function<Message(int)>& message,
                                      const char* answer) {
  for (int w = 0; w < workers(); ++w) node_.Command(MemberOf(w), message(w), answer);
  return WaitFor(servers(), servers() + workers(), [&](int) { return answer; });
}

std::vector<Message> Crew::AskServers(const Message& message, const char* answer) {
  for (int s = 0; s < servers(); ++s) node_.Command(s, message, answer);
  return WaitFor(0, servers(), [&](int) { return answer; });
}

Crew::Answers Crew::AskAll(const std::function<Message(int)>& to_worker, const char* worker_answer,
                           const Message& to_server, const char* server_answer) {
  for (int s = 0; s < servers(); ++s) node_.Command(s, to_server, server_answer);
  for (int w = 0; w < workers(); ++w) node_.Command(MemberOf(w), to_worker(w), worker_answer);
  std::vector<Message> all = WaitFor(0, servers() + workers(), [&](int m) {
    return m < servers() ? server_answer : worker_answer;
  });
  Answers answers;
  for (size_t i = 0; i < all.size(); ++i) {
    (i < static_cast<size_t>(servers()) ? answers.servers : answers.workers)
        .push_back(std::move(all[i]));
  }
  return answers;
}

void Crew::End() { node_.End(); }

}  // namespace mariana
