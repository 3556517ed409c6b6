#include "common/nn/memory_plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <functional>
#include <numeric>

namespace mariana {
namespace {

constexpr int64_t kAlign = 64;

constexpr size_t kTurns = 8;  // in which a place for the next input is looked for

int64_t TurnOf(const MemoryBlock& b) { return b.turn > 0 ? b.turn : b.bytes; }

bool Overlap(const MemoryBlock& a, const MemoryBlock& b) {
  return a.first <= b.last && b.first <= a.last;
}

// Lifetimes of one graph.
class Planner {
 public:
  Planner(const Graph& graph, int64_t max_rows, bool train)
      : graph_(graph), max_rows_(max_rows), train_(train), n_(static_cast<int>(graph.ops.size())) {
    plan_.value.assign(graph.tensors.size(), -1);
    plan_.gradient.assign(graph.tensors.size(), -1);
    plan_.saved.assign(graph.ops.size(), -1);
    plan_.targets.resize(graph.ops.size());
  }

  MemoryPlan Plan(bool next_input) {
    for (int t = 1; t < static_cast<int>(graph_.tensors.size()); ++t) {
      if (graph_.tensors[t].stored) PlanValue(t);
    }
    for (int op = 0; op < n_; ++op) PlanSaved(op);
    if (train_) {
      if (graph_.loss >= 0 && graph_.tensors[graph_.loss].gradient) {
        plan_.gradient[graph_.loss] = NewBlock(Bytes(graph_.loss), n_, n_);
      }
      for (int op = n_ - 1; op >= 0; --op) {
        if (graph_.RunsBackward(op)) PlanGradients(op);
      }
      if (graph_.tensors[0].gradient) plan_.blocks[plan_.gradient[0]].last = 2 * n_;
    }
    plan_.bytes = PlaceBlocks(&plan_.blocks);
    if (train_ && next_input) FindRoom();
    return std::move(plan_);
  }

 private:
  int BackwardTick(int op) const { return 2 * n_ - op; }
  int64_t Bytes(TensorId t) const {
    return max_rows_ * graph_.tensors[t].shape.elements() * SizeOf(graph_.tensors[t].dtype);
  }
  int NewBlock(int64_t bytes, int first, int last) {
    plan_.blocks.push_back({bytes, first, last, 0});
    return static_cast<int>(plan_.blocks.size()) - 1;
  }

  // The earlier it is free, the longer the next input has to get there. By size its turn may come
  // too early: what is alive at the peak then lies around it.
  void FindRoom() {
    std::vector<int64_t> turns = {0, 1};
    for (const MemoryBlock& b : plan_.blocks) {
      if (b.bytes > 1) turns.push_back(b.bytes - 1);
    }
    std::sort(turns.begin() + 2, turns.end(), std::greater<>());
    turns.erase(std::unique(turns.begin() + 2, turns.end()), turns.end());
    turns.resize(std::min(turns.size(), 2 + kTurns));
    const int64_t most = plan_.bytes + plan_.bytes / 100;
    for (int op = n_ - 1; op >= 0; --op) {
      if (!graph_.RunsBackward(op) || graph_.ops[op].decl.params.empty()) continue;
      for (const int64_t turn : turns) {
        std::vector<MemoryBlock> blocks = plan_.blocks;
        blocks.push_back({Bytes(0), BackwardTick(op) + 1, 2 * n_ + 1, 0, turn});
        const int64_t bytes = PlaceBlocks(&blocks);
        if (bytes > most) continue;
        plan_.bytes = bytes;
        plan_.next_input = static_cast<int>(plan_.blocks.size());
        plan_.next_input_after = op;
        plan_.blocks = std::move(blocks);
        return;
      }
    }
  }

  void PlanValue(TensorId t) {
    const TensorInfo& tensor = graph_.tensors[t];
    int last = tensor.producer;
    if (t == graph_.output) last = train_ ? 2 * n_ : n_;  // readable until the next step
    if (t == graph_.loss) last = std::max(last, n_);
    for (int c : tensor.consumers) {
      last = std::max(last, c);
      if (graph_.RunsBackward(c) && BackwardReads(graph_.ops[c], t)) {
        last = std::max(last, BackwardTick(c));
      }
    }
    if (tensor.gradient && graph_.ops[tensor.producer].decl.backward_reads_output) {
      last = std::max(last, BackwardTick(tensor.producer));
    }
    plan_.value[t] = NewBlock(Bytes(t), tensor.producer, last);
  }

  static bool BackwardReads(const OpNode& op, TensorId t) {
    const auto end = op.inputs.begin() + op.decl.backward_reads_inputs;
    return std::find(op.inputs.begin(), end, t) != end;
  }

  void PlanSaved(int op) {
    const int64_t bytes = graph_.ops[op].decl.saved_bytes;
    if (bytes == 0) return;
    plan_.saved[op] = NewBlock(bytes, op, graph_.RunsBackward(op) ? BackwardTick(op) : op);
  }

  // Called from the last op to the first, so dy's block exists.
  void PlanGradients(int op) {
    const OpNode& node = graph_.ops[op];
    const int tick = BackwardTick(op);
    if (plan_.gradient[node.output] < 0) {  // the end of a transfer that has nothing here
      CHECK_EQ(Bytes(node.output), 0) << node.name;
      plan_.gradient[node.output] = NewBlock(0, tick, tick);
    }
    const int dy = plan_.gradient[node.output];
    plan_.blocks[dy].last = tick;
    bool in_place = node.decl.gradient_in_place;
    plan_.targets[op].resize(node.inputs.size());
    // The last input first: of a batch norm that is the residual, whose gradient is dy itself (but
    // for the relu).
    for (size_t k = node.inputs.size(); k-- > 0;) {
      const TensorId t = node.inputs[k];
      MemoryPlan::GradientTarget& target = plan_.targets[op][k];
      if (graph_.tensors[t].gradient && k < node.decl.gradient_inputs) {
        int& own = plan_.gradient[t];
        if (node.decl.gradient_adds) {
          CHECK_GE(own, 0) << node.name << " adds to nothing";
          target.block = own;
          continue;
        }
        target.add = own >= 0;
        if (target.add) {
          target.block = NewBlock(Bytes(t), tick, tick);
        } else if (in_place && Bytes(t) == Bytes(node.output)) {
          target.block = own = dy;
          in_place = false;
        } else {
          target.block = own = NewBlock(Bytes(t), tick, tick);
        }
      }
    }
  }

  const Graph& graph_;
  const int64_t max_rows_;
  const bool train_;
  const int n_;
  MemoryPlan plan_;
};

}  // namespace

int64_t PlaceBlocks(std::vector<MemoryBlock>* blocks) {
  std::vector<int> order(blocks->size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return TurnOf((*blocks)[a]) > TurnOf((*blocks)[b]); });
  std::vector<MemoryBlock> placed;  // by offset
  int64_t total = 0;
  for (int i : order) {
    MemoryBlock& block = (*blocks)[i];
    const int64_t bytes = (block.bytes + kAlign - 1) / kAlign * kAlign;
    int64_t offset = 0;
    for (const MemoryBlock& p : placed) {
      if (!Overlap(p, block)) continue;
      if (p.offset >= offset + bytes) break;
      offset = std::max(offset, p.offset + p.bytes);
    }
    block.offset = offset;
    total = std::max(total, offset + bytes);
    const MemoryBlock p{bytes, block.first, block.last, offset};
    placed.insert(std::upper_bound(placed.begin(), placed.end(), p,
                                   [](const MemoryBlock& a, const MemoryBlock& b) {
                                     return a.offset < b.offset;
                                   }),
                  p);
  }
  return total;
}

MemoryPlan PlanMemory(const Graph& graph, int64_t max_rows, bool train, bool next_input) {
  return Planner(graph, max_rows, train).Plan(next_input);
}

}  // namespace mariana
