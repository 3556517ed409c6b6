// What the job control deals out to nodes: lanes of the data, and steps.
#include <algorithm>
#include <limits>

#include "mariana_cluster/crew.h"

namespace mariana {

// A node keeps the lanes that it had, as it has their rows in its caches.
void Crew::BeginEpoch(const std::vector<LanePosition>& lanes) {
  if (lane_node_.size() != lanes.size()) {
    lane_node_.resize(lanes.size());
    for (size_t l = 0; l < lanes.size(); ++l) {
      lane_node_[l] = static_cast<int>(l % static_cast<size_t>(nodes()));
    }
  }
  positions_ = lanes;
  over_ = false;
  ++epoch_;
  for (int n = 0; n < nodes(); ++n) {
    NodeEpoch epoch{epoch_, lanes, {}};
    for (size_t l = 0; l < lanes.size(); ++l) {
      if (lane_node_[l] == n) epoch.here.push_back(static_cast<int>(l));
    }
    if (n == 0) {
      node_.BeginEpoch(epoch.lanes, epoch.here);
    } else {
      TellAgent(n, {"begin", 0, epoch.ToBytes(), {}});
    }
  }
}

void Crew::GrantSteps(int64_t next, int64_t limit) {
  const int64_t n = nodes();
  const int64_t left = std::max<int64_t>(0, limit - next);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t mine = left / n + (i < left % n ? 1 : 0);
    StepsGrant steps{next + i, n, limit};
    // Without a limit all numbers are below it.
    if (limit < std::numeric_limits<int64_t>::max()) steps.limit = next + i + mine * n;
    if (i == 0) {
      node_.Grant(steps);
    } else {
      TellAgent(static_cast<int>(i), {"steps", 0, ToBody(steps), {}});
    }
  }
}

void Crew::PauseAtBatch() {
  memory_->progress->SetLimit(0);
  TellAgents({"steps", 0, ToBody(StepsGrant{0, nodes(), 0}), {}});
}

void Crew::TakeState(int node, const std::string& body, bool whole) {
  Far& far = far_[static_cast<size_t>(node - 1)];
  far.state = NodeState::FromBytes(body);
  if (whole) far.memory_bytes = far.state.memory_bytes;
  if (far.state.epoch != epoch_) return;
  far.fresh = true;
  for (const NodeState::Lane& l : far.state.lanes) {
    const auto lane = static_cast<size_t>(l.lane);
    if (lane_node_[lane] == node) positions_[lane] = l.position;
  }
}

void Crew::Sync() {
  if (far_.empty()) return;
  TellAgents({"state", 0, "", {}});
  AwaitAgents("state");
}

std::vector<LanePosition> Crew::positions() const {
  std::vector<LanePosition> all = positions_;
  for (size_t l = 0; l < all.size(); ++l) {
    if (lane_node_[l] == 0) all[l] = memory_->lanes->position(static_cast<int>(l));
  }
  return all;
}

RunProgress::Totals Crew::totals() const {
  RunProgress::Totals sum = memory_->progress->totals();
  for (const Far& f : far_) sum.Add(f.state.totals);
  return sum;
}

void Crew::MoveLane(int lane, int to) {
  lane_node_[static_cast<size_t>(lane)] = to;
  if (to == 0) {
    memory_->lanes->Accept(lane, 0);
  } else {
    far_[static_cast<size_t>(to - 1)].fresh = false;
    TellAgent(to, {"lane", lane, "", {}});
  }
}

// A node whose workers have nothing left gets a lane of the one that has the most; and where no
// node has any, all are told.
void Crew::MoveLanes() {
  const std::vector<LanePosition> all = positions();
  if (!over_ && std::all_of(all.begin(), all.end(), [](const auto& l) { return l.ended; })) {
    over_ = true;
    memory_->lanes->EndElsewhere();
    TellAgents({"over", 0, "", {}});
  }
  if (over_) return;
  const int taken = memory_->lanes->taken();
  std::vector<int> waiting = {memory_->lanes->waiting()};
  std::vector<int> idle = {std::max(0, node_.workers() - taken)};
  for (const Far& f : far_) {
    const bool known = f.fresh && f.state.epoch == epoch_;
    waiting.push_back(known && !f.asked_for_lane ? f.state.waiting : 0);
    idle.push_back(known ? f.state.idle : 0);
  }
  for (const Far& f : far_) {
    if (f.asked_for_lane) idle[static_cast<size_t>(f.lane_for)] = 0;
  }
  for (int to = 0; to < nodes(); ++to) {
    if (idle[static_cast<size_t>(to)] == 0 || waiting[static_cast<size_t>(to)] > 0) continue;
    const auto most = std::max_element(waiting.begin(), waiting.end());
    if (*most == 0) return;
    const auto from = static_cast<int>(most - waiting.begin());
    *most = 0;  // one of each node at a time
    if (from == 0) {
      const int lane = memory_->lanes->Release();
      if (lane != LaneQueue::kNone) MoveLane(lane, to);
    } else {
      Far& f = far_[static_cast<size_t>(from - 1)];
      f.asked_for_lane = true;
      f.lane_for = to;
      TellAgent(from, {"give", 0, "", {}});
    }
  }
}

}  // namespace mariana
