#include "mariana_cluster/trace/job_trace.h"

#include <unistd.h>

#include <ctime>
#include <utility>

#include "common/base/clock.h"

namespace mariana {
namespace {

using nlohmann::json;

constexpr size_t kEvents = 50;
constexpr size_t kMostReports = 4096;  // with spans: if nobody takes them, later ones are lost

}  // namespace

JobTrace::JobTrace(Facts facts) : facts_(std::move(facts)) {}

void JobTrace::SetPhase(const std::string& phase) {
  Update([&](Facts* f) { f->phase = phase; });
}

void JobTrace::Update(const std::function<void(Facts*)>& change) {
  std::unique_lock<std::mutex> lock(mutex_);
  change(&facts_);
}

void JobTrace::Happened(const std::string& what) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  std::unique_lock<std::mutex> lock(mutex_);
  events_.push_back({{"number", events_seen_++},
                     {"time", static_cast<double>(now.tv_sec) + 1e-9 * now.tv_nsec},
                     {"what", what}});
  if (events_.size() > kEvents) events_.pop_front();
}

void JobTrace::Watch(std::unique_ptr<NodeTrace> own) {
  std::unique_lock<std::mutex> lock(mutex_);
  own_ = std::move(own);
}

void JobTrace::Unwatch() {
  std::unique_lock<std::mutex> lock(mutex_);
  own_.reset();
}

void JobTrace::KeepSpans(int node, json spans) {
  spans["number"] = node;
  if (spans["spans"].empty() && spans["lost"] == 0) return;
  if (spans_.size() < kMostReports) spans_.push_back(std::move(spans));
}

void JobTrace::Put(int node, const std::string& report) {
  json all = json::from_msgpack(report);
  std::unique_lock<std::mutex> lock(mutex_);
  KeepSpans(node, std::move(all["trace"]));
  all.erase("trace");
  all["number"] = node;
  others_[node] = std::move(all);
}

std::string JobTrace::Order() {
  std::unique_lock<std::mutex> lock(mutex_);
  return std::exchange(order_, "");
}

json JobTrace::Status() {
  std::unique_lock<std::mutex> lock(mutex_);
  json nodes = json::array();
  if (own_ != nullptr) {
    nodes.push_back(own_->Processes());
    nodes.back()["number"] = 0;
  }
  for (const auto& [node, report] : others_) nodes.push_back(report);
  return {{"job", facts_.name},
          {"run_dir", facts_.run_dir},
          {"pid", getpid()},
          {"phase", facts_.phase},
          {"epoch", facts_.epoch},
          {"epochs", facts_.epochs},
          {"step", facts_.step},
          {"samples", facts_.samples},
          {"epoch_samples", facts_.epoch_samples},
          {"seconds", Clock::Real()->NowSeconds() - begin_seconds_},
          {"nodes", nodes},
          {"events", events_}};
}

void JobTrace::Trace(double seconds) {
  const std::vector<uint8_t> bytes = json::to_msgpack(json(seconds));
  std::unique_lock<std::mutex> lock(mutex_);
  order_.assign(bytes.begin(), bytes.end());
  spans_ = json::array();
  if (own_ == nullptr) return;
  own_->Spans();  // what an earlier trace left
  own_->Obey(order_);
}

json JobTrace::TakeSpans() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (own_ != nullptr) KeepSpans(0, own_->Spans());
  return std::exchange(spans_, json::array());
}

}  // namespace mariana
