#include "common/nn/split_plan.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/nn/split_transfers.h"

namespace mariana {
namespace {

bool Replicated(const Distribution& d) {
  const auto as_first = [&](const ChannelRange& c) { return c == d.held[0]; };
  return !d.sum_value && std::all_of(d.held.begin(), d.held.end(), as_first);
}

bool IsWithin(const std::string& op, const std::string& layer) {
  return op == layer || (op.size() > layer.size() && op[layer.size()] == '.' &&
                         op.compare(0, layer.size(), layer) == 0);
}

// The plan of one graph: first how every op is split and how it leaves its output, in order; then,
// from the back, where gradients of what all workers hold may stay parts of a sum.
class Planner {
 public:
  Planner(const SplitSpec& spec, Graph* graph) : spec_(spec), graph_(*graph) {
    plan_.workers = spec.workers;
  }

  SplitPlan Plan(LossKind loss) {
    Choose();
    plan_.tensors.resize(graph_.tensors.size());
    plan_.tensors[0] = Whole(graph_.tensors[0]);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {  // which become more on the way
      if (plan_.ops[i].kind == SplitKind::kAuto) plan_.ops[i].kind = Cheapest(graph_.ops[i]);
      if (plan_.ops[i].kind == SplitKind::kRows) SplitOff(i);
      needs_.resize(i + 1);
      Distribute(static_cast<int>(i));
    }
    for (int i = static_cast<int>(graph_.ops.size()) - 1; i >= 0; --i) LeaveSums(i);
    for (size_t i = 0; i < graph_.ops.size(); ++i) AddTransfers(static_cast<int>(i));
    plan_.split_loss = loss == LossKind::kSoftmaxCrossEntropy && CanSplitLoss();
    if (plan_.split_loss) RouteLoss(plan_.tensors[graph_.output], &plan_);
    const TensorInfo& out = graph_.tensors[graph_.output];
    plan_.output_transfer = TransferTo(graph_.output, Whole(out), plan_.split_loss);
    NumberParameters();
    return std::move(plan_);
  }

 private:
  int workers() const { return spec_.workers; }
  int64_t ChannelsIn(TensorId t) const { return ChannelsOf(graph_.tensors[t].shape); }

  Distribution Whole(const TensorInfo& t) const {
    return {std::vector<ChannelRange>(workers(), {0, ChannelsOf(t.shape)})};
  }
  Distribution At(int place, const TensorInfo& t) const {
    Distribution d{std::vector<ChannelRange>(workers())};
    d.held[place] = {0, ChannelsOf(t.shape)};
    return d;
  }

  // The outputs where they can be split; or the inputs, if they are there in parts and it is no
  // more to sum up outputs than to gather inputs (which would have to be kept whole).
  SplitKind Cheapest(const OpNode& op) const {
    const Division can = op.layer->division();
    if (!can.outputs) return SplitKind::kNone;
    const Distribution& x = plan_.tensors[op.inputs[0]];
    const int64_t in = graph_.tensors[op.inputs[0]].shape.elements();
    const int64_t out = graph_.tensors[op.output].shape.elements();
    const bool rows = can.inputs && IsCut(x, ChannelsIn(op.inputs[0])) && in >= out;
    return rows ? SplitKind::kRows : SplitKind::kOutputs;
  }

  void SplitOff(size_t i) {
    const size_t before = graph_.ops.size();
    SplitOffActivation(static_cast<int>(i), &graph_);
    if (graph_.ops.size() == before) return;
    plan_.tensors.resize(graph_.tensors.size());
    OpSplit activation;
    activation.kind = SplitKind::kNone;
    activation.follows = true;
    plan_.ops.insert(plan_.ops.begin() + static_cast<std::ptrdiff_t>(i) + 1, activation);
  }

  // What the job says.
  void Choose() {
    plan_.ops.assign(graph_.ops.size(), {});
    std::vector<const SplitChoice*> choice(graph_.ops.size(), nullptr);
    for (const SplitChoice& c : spec_.layers) {
      bool known = false;
      for (size_t i = 0; i < graph_.ops.size(); ++i) {
        if (!IsWithin(graph_.ops[i].name, c.layer)) continue;
        choice[i] = &c;
        known = true;
      }
      if (!known) {
        throw Fail(ExitCode::kUsage, "parallel.layers: no layer or block is named ", c.layer,
                   " (--check lists them)");
      }
      if (c.place >= workers()) {
        throw Fail(ExitCode::kUsage, "parallel.layers: ", c.layer, ": place: ", c.place,
                   ", but parallel.split is ", workers(), ": workers are 0 to ", workers() - 1);
      }
    }
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      ChooseOp(graph_.ops[i], choice[i], &plan_.ops[i]);
    }
  }

  void ChooseOp(const OpNode& op, const SplitChoice* choice, OpSplit* split) const {
    const Division can = op.layer->division();
    const SplitKind wanted = choice ? choice->kind : SplitKind::kAuto;
    const bool block = choice && choice->layer != op.name;  // named as part of a block
    split->place = choice ? static_cast<int>(choice->place) : -1;
    split->kind = split->place >= 0 ? SplitKind::kNone : wanted;
    const bool fits = split->kind == SplitKind::kNone || split->kind == SplitKind::kAuto ||
                      (split->kind == SplitKind::kOutputs && can.outputs) ||
                      (split->kind == SplitKind::kRows && can.inputs);
    if (!fits) {
      if (!block) {
        throw Fail(ExitCode::kUsage, "parallel.layers: ", op.name, ": a ", op.layer->type(),
                   " cannot be split by ", Name(split->kind),
                   can.follows ? ": it follows its input" : "");
      }
      split->kind = SplitKind::kAuto;
    }
    // Layers without work of their own go along with their input, unless told not to.
    split->follows = can.follows && wanted != SplitKind::kNone && split->place < 0;
  }

  void Distribute(int i) {
    const OpNode& op = graph_.ops[i];
    OpSplit& split = plan_.ops[i];
    const TensorInfo& out = graph_.tensors[op.output];
    auto& needs = needs_[i];
    if (split.place >= 0) {
      for (TensorId t : op.inputs) needs.push_back(At(split.place, graph_.tensors[t]));
      plan_.tensors[op.output] = At(split.place, out);
    } else if (split.kind == SplitKind::kOutputs) {
      SplitOutputs(i);
    } else if (split.kind == SplitKind::kRows) {
      const int64_t n = ChannelsIn(op.inputs[0]);
      const Distribution& x = plan_.tensors[op.inputs[0]];
      needs.push_back(IsCut(x, n) ? x : Distribution{CutChannels(n, 1, workers())});
      Distribution& y = plan_.tensors[op.output];
      y.held.resize(workers());
      for (int w = 0; w < workers(); ++w) {
        if (!needs[0].held[w].empty()) y.held[w] = {0, ChannelsIn(op.output)};
      }
      y.sum_value = true;
    } else if (!split.follows || !Follow(i)) {
      for (TensorId t : op.inputs) needs.push_back(Whole(graph_.tensors[t]));
      plan_.tensors[op.output] = Whole(out);
    }
  }

  void SplitOutputs(int i) {
    const OpNode& op = graph_.ops[i];
    const int64_t groups = op.layer->division().groups;
    const int64_t in = ChannelsIn(op.inputs[0]), out = ChannelsIn(op.output);
    Distribution y{CutChannels(out, groups, workers())}, x{std::vector<ChannelRange>(workers())};
    for (int w = 0; w < workers(); ++w) {
      const ChannelRange mine = y.held[w];
      if (mine.empty()) continue;
      const int64_t group_out = out / groups, group_in = in / groups;
      x.held[w] = {mine.begin / group_out * group_in, ((mine.end - 1) / group_out + 1) * group_in};
    }
    x.sum_gradient = !Disjoint(x.held);
    needs_[i].push_back(std::move(x));
    plan_.tensors[op.output] = std::move(y);
  }

  // Goes along with the first input that is split or placed; false if none is.
  bool Follow(int i) {
    const OpNode& op = graph_.ops[i];
    const Division can = op.layer->division();
    std::vector<ChannelRange> held;
    for (TensorId t : op.inputs) {
      const Distribution& x = plan_.tensors[t];
      if (x.sum_value && can.halo == 0) held = CutChannels(ChannelsIn(t), 1, workers());
      if (!x.sum_value && !Replicated(x)) held = x.held;
      if (!held.empty()) break;
    }
    if (held.empty() || !Disjoint(held)) return false;
    for (TensorId t : op.inputs) {
      Distribution x{held};
      for (ChannelRange& c : x.held) {
        if (c.empty()) continue;
        c.begin = std::max<int64_t>(0, c.begin - can.halo);
        c.end = std::min(ChannelsIn(t), c.end + can.halo);
      }
      x.sum_gradient = !Disjoint(x.held);
      x.beside = x.sum_gradient && plan_.tensors[t].held == held;
      needs_[i].push_back(std::move(x));
    }
    plan_.tensors[op.output] = {held};
    return true;
  }

  // An op on every worker without parameters is linear in its output's gradient: where nobody
  // needs that whole, it may be a part of a sum on each, and so those of the inputs.
  void LeaveSums(int i) {
    const OpNode& op = graph_.ops[i];
    Distribution& y = plan_.tensors[op.output];
    const bool whole = workers() > 1 && Replicated(y);
    if (!whole || op.layer->has_parameters() || op.output == graph_.output) return;
    for (int c : graph_.tensors[op.output].consumers) {
      for (size_t k = 0; k < graph_.ops[c].inputs.size(); ++k) {
        const Distribution& x = needs_[c][k];
        if (graph_.ops[c].inputs[k] == op.output && !x.sum_gradient && !Disjoint(x.held)) return;
      }
    }
    y.sum_gradient = true;
    for (Distribution& x : needs_[i]) x.sum_gradient = true;
  }

  void AddTransfers(int i) {
    const OpNode& op = graph_.ops[i];
    OpSplit& split = plan_.ops[i];
    for (size_t k = 0; k < op.inputs.size(); ++k) {
      split.transfers.push_back(TransferTo(op.inputs[k], needs_[i][k]));
    }
    split.in = needs_[i][0].held;
  }

  // The transfer that brings tensor t to `need`; -1 where it is so already.
  int TransferTo(TensorId t, const Distribution& need, bool evaluation = false) {
    const TensorInfo& tensor = graph_.tensors[t];
    const bool gradient = tensor.gradient && !evaluation;
    if (IsSame(plan_.tensors[t], need, gradient)) return -1;
    for (size_t i = 0; i < plan_.transfers.size(); ++i) {
      if (plan_.transfers[i].tensor == t && plan_.transfers[i].to == need)
        return static_cast<int>(i);
    }
    Transfer transfer;
    transfer.tensor = t;
    transfer.from = plan_.tensors[t];
    transfer.to = need;
    transfer.evaluation = evaluation;
    const std::string from = tensor.producer < 0 ? "input" : graph_.ops[tensor.producer].name;
    transfer.name = from + "." + KindOf(transfer);
    RouteTransfer(tensor, gradient, std::move(transfer), &plan_);
    return static_cast<int>(plan_.transfers.size()) - 1;
  }

  // Every worker needs the output; where its columns are split, and nothing else reads it, the
  // softmax of each does with its own, and they are joined in evaluation only.
  bool CanSplitLoss() const {
    const Distribution& y = plan_.tensors[graph_.output];
    const auto has = [](const ChannelRange& c) { return !c.empty(); };
    return !y.sum_value && Disjoint(y.held) &&
           std::count_if(y.held.begin(), y.held.end(), has) > 1 &&
           graph_.tensors[graph_.output].consumers.empty();
  }

  void NumberParameters() {
    for (const OpNode& op : graph_.ops) {
      plan_.batch_stats = plan_.batch_stats || op.decl.stats_columns > 0;
      for (const ParamDecl& p : op.decl.params) {
        const int index = static_cast<int>(plan_.parameters.size());
        plan_.parameters[op.name + "." + p.name] = index;
      }
    }
  }

  const SplitSpec& spec_;
  Graph& graph_;
  SplitPlan plan_;
  std::vector<std::vector<Distribution>> needs_;  // by op and input
};

}  // namespace

const char* Name(SplitKind kind) {
  switch (kind) {
    case SplitKind::kAuto: return "auto";
    case SplitKind::kNone: return "none";
    case SplitKind::kOutputs: return "channels";
    case SplitKind::kRows: return "rows";
  }
  return "?";
}

void SplitChoice::Describe(Fields* f) {
  f->Text("layer", &layer, "The name of a layer, or of a block: all layers in it.",
          Rule().Required());
  f->Choice("split", &kind,
            {{"auto", SplitKind::kAuto},
             {"channels", SplitKind::kOutputs},
             {"columns", SplitKind::kOutputs},
             {"rows", SplitKind::kRows},
             {"none", SplitKind::kNone}},
            "What each worker has of it: some of its output channels (columns, of a linear layer); "
            "some of its inputs (rows: what comes out is summed); none: every worker does it all.");
  f->Int("place", &place, "The one worker of a group that does it, from 0; -1: all.",
         Rule().Min(-1).Max(63));
  f->Require(place < 0 || kind == SplitKind::kAuto, "place", "and `split` exclude each other");
}

SplitPlan PlanSplit(const SplitSpec& spec, LossKind loss, Graph* whole) {
  CHECK_GE(spec.workers, 1);
  return Planner(spec, whole).Plan(loss);
}

}  // namespace mariana
