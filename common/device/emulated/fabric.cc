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
    for (const Flow& flow : flows_) due = std::min(due, flow.end_ns);
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
  for (const int e : begin.route->edges) edge_bytes_[static_cast<size_t>(e)] += begin.bytes;
  Progress();
  flows_.push_back({begin.route, std::move(begin.what), static_cast<double>(begin.bytes),
                    clock_->NowNs(), std::move(begin.done)});
  Share();
}

void Fabric::Progress() {
  const int64_t now = clock_->NowNs();
  for (Flow& flow : flows_) {
    flow.left = std::max(0.0, flow.left - flow.rate * static_cast<double>(now - moved_to_ns_));
  }
  moved_to_ns_ = now;
}

// The first flow that has ended leaves; empty if none has.
std::function<void()> Fabric::TakeFinished() {
  const int64_t now = clock_->NowNs();
  const auto flow =
      std::find_if(flows_.begin(), flows_.end(), [&](const Flow& f) { return f.end_ns <= now; });
  if (flow == flows_.end()) return {};
  for (const int e : flow->route->edges) timeline_->Add(track(e), flow->what, flow->begin_ns, now);
  std::function<void()> done = std::move(flow->done);
  Progress();
  flows_.erase(flow);
  Share();
  return done;
}

// Progressive filling: the edge that leaves the least to each of its flows settles them; then the
// next, with what they left of it.
void Fabric::Share() {
  const std::vector<Edge>& edges = routes_.edges();
  std::map<int, std::pair<double, int>> free;  // edge -> bytes a nanosecond, flows not settled
  for (Flow& flow : flows_) {
    flow.rate = -1;
    for (const int e : flow.route->edges) {
      auto& [rate, count] =
          free.emplace(e, std::make_pair(edges[static_cast<size_t>(e)].bytes_per_ns, 0))
              .first->second;
      (void)rate;
      ++count;
    }
  }
  for (;;) {
    double least = std::numeric_limits<double>::infinity();
    int tightest = -1;
    for (const auto& [e, left] : free) {
      if (left.second > 0 && left.first / left.second < least) {
        least = left.first / left.second;
        tightest = e;
      }
    }
    if (tightest < 0) break;
    for (Flow& flow : flows_) {
      const auto& way = flow.route->edges;
      if (flow.rate >= 0 || std::find(way.begin(), way.end(), tightest) == way.end()) continue;
      flow.rate = least;
      for (const int e : way) {
        free[e].first = std::max(0.0, free[e].first - least);
        --free[e].second;
      }
    }
  }
  for (Flow& flow : flows_) {
    CHECK_GT(flow.rate, 0) << "a copy without a way";
    flow.end_ns = moved_to_ns_ + static_cast<int64_t>(std::ceil(flow.left / flow.rate));
  }
}

}  // namespace mariana
