#include "common/nn/split_transfers.h"

#include <glog/logging.h>

#include <algorithm>

namespace mariana {
namespace {

bool Covers(const ChannelRange& a, const ChannelRange& b) {
  return a.begin <= b.begin && b.end <= a.end;
}

int HolderCount(const std::vector<ChannelRange>& held) {
  return static_cast<int>(
      std::count_if(held.begin(), held.end(), [](const ChannelRange& c) { return !c.empty(); }));
}

// A run of channels that the same workers hold.
struct Run {
  ChannelRange channels;
  std::vector<int> holders;  // ascending
};

// [want) cut where what workers hold begins or ends; without `all`, one holder of each, itself if
// it is one.
std::vector<Run> Runs(const std::vector<ChannelRange>& held, ChannelRange want, int self,
                      bool all) {
  std::vector<int64_t> cuts = {want.begin, want.end};
  for (const ChannelRange& c : held) {
    for (int64_t at : {c.begin, c.end}) {
      if (want.begin < at && at < want.end) cuts.push_back(at);
    }
  }
  std::sort(cuts.begin(), cuts.end());
  std::vector<Run> runs;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    Run run{{cuts[i], cuts[i + 1]}, {}};
    if (run.channels.empty()) continue;
    for (int w = 0; w < static_cast<int>(held.size()); ++w) {
      if (!held[w].empty() && Covers(held[w], run.channels)) run.holders.push_back(w);
    }
    if (run.holders.empty()) continue;
    if (!all) {
      const bool own = std::count(run.holders.begin(), run.holders.end(), self) > 0;
      run.holders = {own ? self : run.holders[0]};
    }
    if (!runs.empty() && runs.back().holders == run.holders &&
        runs.back().channels.end == run.channels.begin) {
      runs.back().channels.end = run.channels.end;
    } else {
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

// One pass of a transfer: what workers hold becomes what they want.
class Router {
 public:
  // `beside`: own channels stay where they are, and gradients that come are added to theirs.
  Router(int transfer, bool backward, bool beside, const TensorInfo& tensor, SplitPlan* plan,
         Transfer::Pass* pass)
      : transfer_(transfer),
        backward_(backward),
        beside_(beside),
        bytes_(PixelsOf(tensor.shape) * SizeOf(tensor.dtype)),
        dtype_(tensor.dtype),
        plan_(plan),
        pass_(pass) {
    pass_->out.resize(static_cast<size_t>(plan->workers));
    pass_->in.resize(static_cast<size_t>(plan->workers));
  }

  void Route(const std::vector<ChannelRange>& held, const std::vector<ChannelRange>& want,
             bool sum) {
    for (int w = 0; w < plan_->workers; ++w) {
      if (want[w].empty()) continue;
      for (const Run& run : Runs(held, want[w], w, sum)) {
        for (size_t k = 0; k < run.holders.size(); ++k) Add(run.holders[k], w, run.channels, k > 0);
      }
    }
  }
  // Each worker keeps what it has of what it wants; with `once`, only the first that has it.
  void KeepOwn(const std::vector<ChannelRange>& held, const std::vector<ChannelRange>& want,
               bool once) {
    for (int w = 0; w < plan_->workers; ++w) {
      const ChannelRange both{std::max(held[w].begin, want[w].begin),
                              std::min(held[w].end, want[w].end)};
      if (both.empty()) continue;
      Add(w, w, both, false);
      if (once) return;
    }
  }

 private:
  void Add(int from, int to, ChannelRange channels, bool add) {
    if (from == to && beside_) return;
    TransferPiece piece{-1, channels, add || (beside_ && backward_)};
    if (from != to) {
      piece.message = static_cast<int>(plan_->messages.size());
      plan_->messages.push_back({transfer_, backward_, from, to, channels, channels.size() * bytes_,
                                 channels.size(), dtype_});
      pass_->out[static_cast<size_t>(from)].push_back(piece);
    }
    pass_->in[static_cast<size_t>(to)].push_back(piece);
  }

  const int transfer_;
  const bool backward_, beside_;
  const int64_t bytes_;  // of one channel of one sample
  const Dtype dtype_;
  SplitPlan* const plan_;
  Transfer::Pass* const pass_;
};

}  // namespace

std::vector<ChannelRange> CutChannels(int64_t n, int64_t groups, int workers) {
  std::vector<ChannelRange> held(static_cast<size_t>(workers));
  if (groups > workers) {  // whole groups
    const int64_t each = n / groups;
    for (int64_t w = 0; w < workers; ++w) {
      held[w] = {groups * w / workers * each, groups * (w + 1) / workers * each};
    }
    return held;
  }
  // Each group has some workers, and is cut into so many parts.
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = workers * g / groups, parts = workers * (g + 1) / groups - first;
    const int64_t size = n / groups;
    const int64_t unit = size >= 16 * parts ? 16 : size >= 8 * parts ? 8 : 1;
    const int64_t units = (size + unit - 1) / unit;
    for (int64_t p = 0; p < parts; ++p) {
      const auto cut = [&](int64_t i) {
        return g * size + std::min(size, (units * i + parts - 1) / parts * unit);
      };
      held[first + p] = {cut(p), cut(p + 1)};
    }
  }
  return held;
}

bool Disjoint(const std::vector<ChannelRange>& held) {
  std::vector<ChannelRange> sorted;
  for (const ChannelRange& c : held) {
    if (!c.empty()) sorted.push_back(c);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const ChannelRange& a, const ChannelRange& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].begin < sorted[i - 1].end) return false;
  }
  return true;
}

bool IsCut(const Distribution& d, int64_t n) {
  int64_t held = 0;
  for (const ChannelRange& c : d.held) held += std::max<int64_t>(c.size(), 0);
  return !d.sum_value && Disjoint(d.held) && HolderCount(d.held) > 1 && held == n;
}

bool IsSame(const Distribution& from, const Distribution& need, bool gradient) {
  if (from.sum_value) return false;
  for (size_t w = 0; w < from.held.size(); ++w) {
    const bool there = from.held[w] == need.held[w] || (!gradient && need.held[w].empty());
    if (!there) return false;
  }
  return !gradient || from.sum_gradient == need.sum_gradient || Disjoint(from.held);
}

const char* KindOf(const Transfer& t) {
  const bool from_apart = Disjoint(t.from.held), to_apart = Disjoint(t.to.held);
  const int to = HolderCount(t.to.held);
  if (t.from.sum_value) return to_apart && to > 1 ? "reduce_scatter" : "reduce";
  if (!from_apart) return to_apart ? "slice" : "share";
  if (HolderCount(t.from.held) == 1) return to_apart && to > 1 ? "scatter" : "copy";
  if (to_apart && to > 1) return "exchange";
  const ChannelRange* first = nullptr;
  for (const ChannelRange& c : t.to.held) {
    if (c.empty()) continue;
    if (first != nullptr && !(c == *first)) return "halo";
    first = &c;
  }
  return "gather";
}

void RouteTransfer(const TensorInfo& tensor, bool gradient, Transfer transfer, SplitPlan* plan) {
  const int index = static_cast<int>(plan->transfers.size());
  const Distribution &from = transfer.from, &to = transfer.to;
  Router(index, false, to.beside, tensor, plan, &transfer.forward)
      .Route(from.held, to.held, from.sum_value);
  Router back(index, true, to.beside, tensor, plan, &transfer.backward);
  if (gradient && from.sum_gradient) {
    back.KeepOwn(to.held, from.held, !to.sum_gradient && !Disjoint(to.held));
  } else if (gradient) {
    back.Route(to.held, from.held, to.sum_gradient);
  }
  plan->transfers.push_back(std::move(transfer));
}

void RouteLoss(const Distribution& classes, SplitPlan* plan) {
  const auto n = static_cast<size_t>(plan->workers);
  plan->classes = classes.held;
  plan->loss_messages.assign(n, std::vector<int>(n, -1));
  for (int from = 0; from < plan->workers; ++from) {
    for (int to = 0; to < plan->workers; ++to) {
      if (from == to || classes.held[from].empty() || classes.held[to].empty()) continue;
      plan->loss_messages[from][to] = static_cast<int>(plan->messages.size());
      plan->messages.push_back({-1,
                                false,
                                from,
                                to,
                                {},
                                SplitSoftmaxOp::kSummary * int64_t{sizeof(float)},
                                SplitSoftmaxOp::kSummary,
                                Dtype::kF32});
    }
  }
}

}  // namespace mariana
