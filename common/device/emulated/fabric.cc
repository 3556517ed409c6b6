#include "common/device/emulated/fabric.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mariana {

Fabric::Fabric(const Machine& machine, Clock* clock, Timeline* timeline)
    : clock_(clock),
      timeline_(timeline),
      routes_(machine),
      changed_(clock),
      on_edge_(routes_.edges().size()),
      edge_bytes_(routes_.edges().size(), 0),
      thread_(clock, "fabric", [this] { Run(); }) {
  for (const Edge& edge : routes_.edges())
    tracks_.push_back(timeline->AddTrack("links", edge.name));
}

Fabric::~Fabric() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

int64_t Fabric::EdgeBytes(int edge) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return edge_bytes_[static_cast<size_t>(edge)];
}

void Fabric::At(int64_t ns, std::function<void()> f) {
  bool first;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    first = timers_.empty() || ns < timers_.begin()->first;
    timers_.emplace(ns, std::move(f));
  }
  if (first) changed_.NotifyAll();
}

void Fabric::Copy(const Route& route, int64_t bytes, int64_t start_ns, const std::string& what,
                  std::function<void()> done) {
  At(start_ns, [this, begin = Begin{&route, bytes, what, std::move(done)}]() mutable {
    Start(std::move(begin));
  });
}

void Fabric::CopyAndWait(const Route& route, int64_t bytes, const std::string& what) {
  std::mutex mutex;
  CondVar ended(clock_);
  bool has_ended = false;
  const auto latency = static_cast<int64_t>(std::llround(route.latency_ns));
  Copy(route, bytes, clock_->NowNs() + latency, what, [&] {
    std::lock_guard<std::mutex> lock(mutex);
    has_ended = true;
    ended.NotifyAll();
  });
  std::unique_lock<std::mutex> lock(mutex);
  ended.Wait(&lock, [&] { return has_ended; });
}

void Fabric::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (stopping_) return;
    int64_t due = timers_.empty() ? INT64_MAX : timers_.begin()->first;
    if (!ends_.empty()) due = std::min(due, ends_.begin()->first);
    if (due > clock_->NowNs()) {
      const size_t timers = timers_.size();
      changed_.WaitUntil(&lock, due, [&] { return stopping_ || timers_.size() != timers; });
      continue;
    }
    std::function<void()> call = TakeFinished();
    if (!call) {
      call = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
    }
    lock.unlock();
    call();
    lock.lock();
  }
}

void Fabric::Start(Begin begin) {
  std::unique_lock<std::mutex> lock(mutex_);
  const int64_t number = next_number_++, now = clock_->NowNs();
  Flow& flow = flows_[number];
  flow = {begin.route, std::move(begin.what), number, now, static_cast<double>(begin.bytes),
          now,         std::move(begin.done)};
  for (const int e : flow.route->edges) {
    edge_bytes_[static_cast<size_t>(e)] += begin.bytes;
    on_edge_[static_cast<size_t>(e)].push_back(&flow);
  }
  ends_.emplace(flow.end_ns, number);
  Share(Around(*flow.route));
}

// The first flow that has ended leaves; empty if none has.
std::function<void()> Fabric::TakeFinished() {
  const int64_t now = clock_->NowNs();
  if (ends_.empty() || ends_.begin()->first > now) return {};
  const auto found = flows_.find(ends_.begin()->second);
  Flow& flow = found->second;
  ends_.erase(ends_.begin());
  for (const int e : flow.route->edges) {
    timeline_->Add(track(e), flow.what, flow.begin_ns, now);
    auto& flows = on_edge_[static_cast<size_t>(e)];
    flows.erase(std::find(flows.begin(), flows.end(), &flow));
  }
  std::function<void()> done = std::move(flow.done);
  const Route& route = *flow.route;
  flows_.erase(found);
  Share(Around(route));
  return done;
}

// The flows that what happens on a route can change: those on its edges, on their edges, and so on.
std::vector<Fabric::Flow*> Fabric::Around(const Route& route) const {
  std::vector<Flow*> flows;
  std::set<int> seen(route.edges.begin(), route.edges.end());
  std::vector<int> open = route.edges;
  while (!open.empty()) {
    const int e = open.back();
    open.pop_back();
    for (Flow* flow : on_edge_[static_cast<size_t>(e)]) {
      if (std::find(flows.begin(), flows.end(), flow) != flows.end()) continue;
      flows.push_back(flow);
      for (const int next : flow->route->edges) {
        if (seen.insert(next).second) open.push_back(next);
      }
    }
  }
  std::sort(flows.begin(), flows.end(), [](Flow* a, Flow* b) { return a->number < b->number; });
  return flows;
}

// Moves the flows up to now and shares the edges anew. Progressive filling: the edge that leaves
// the least to each of its flows settles them; then the next, with what they left of it.
void Fabric::Share(const std::vector<Flow*>& flows) {
  const int64_t now = clock_->NowNs();
  struct Left {
    double rate;    // bytes a nanosecond
    int flows = 0;  // not settled
  };
  std::map<int, Left> left;
  for (Flow* flow : flows) {
    const auto ns = static_cast<double>(now - flow->moved_to_ns);
    flow->left = std::max(0.0, flow->left - flow->rate * ns);
    flow->moved_to_ns = now;
    flow->rate = -1;
    for (const int e : flow->route->edges) {
      ++left.emplace(e, Left{routes_.edges()[static_cast<size_t>(e)].bytes_per_ns})
            .first->second.flows;
    }
  }
  for (;;) {
    double least = std::numeric_limits<double>::infinity();
    int tightest = -1;
    for (const auto& [e, l] : left) {
      if (l.flows > 0 && l.rate / l.flows < least) {
        least = l.rate / l.flows;
        tightest = e;
      }
    }
    if (tightest < 0) break;
    for (Flow* flow : on_edge_[static_cast<size_t>(tightest)]) {
      if (flow->rate >= 0) continue;
      flow->rate = least;
      for (const int e : flow->route->edges) {
        Left& l = left.at(e);
        l.rate = std::max(0.0, l.rate - least);
        --l.flows;
      }
    }
  }
  for (Flow* flow : flows) {
    CHECK_GT(flow->rate, 0) << "a copy without a way";
    ends_.erase({flow->end_ns, flow->number});
    flow->end_ns = now + static_cast<int64_t>(std::ceil(flow->left / flow->rate));
    ends_.emplace(flow->end_ns, flow->number);
  }
}

}  // namespace mariana
