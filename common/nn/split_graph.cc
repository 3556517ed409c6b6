// One worker's graph out of the whole net's: its parts of the operations, in the same order, and
// its ends of the transfers. All workers' lists being parts of one list is what keeps them from
// waiting for each other in a circle (CheckTransfers).
#include <glog/logging.h>

#include <algorithm>

#include "common/nn/split_plan.h"
#include "common/nn/transfer_layers.h"

namespace mariana {
namespace {

class WorkerGraph {
 public:
  WorkerGraph(const SplitPlan& plan, int worker, Transfers* transfers, Graph whole)
      : plan_(plan), worker_(worker), transfers_(transfers), whole_(std::move(whole)) {}

  Graph Make() {
    for (size_t i = 0; i < plan_.ops.size(); ++i) {
      if (plan_.ops[i].kind == SplitKind::kRows) SplitOffActivation(static_cast<int>(i), &whole_);
    }
    CHECK_EQ(whole_.ops.size(), plan_.ops.size());
    own_.assign(whole_.tensors.size(), -1);
    gates_.assign(plan_.transfers.size(), -1);
    received_.assign(plan_.transfers.size(), -1);
    own_[0] = AddTensor(whole_.tensors[0], ChannelsOf(whole_.tensors[0].shape));
    Send(0);
    for (size_t i = 0; i < whole_.ops.size(); ++i) {
      AddOp(static_cast<int>(i));
      Send(whole_.ops[i].output);
    }
    const int last = plan_.output_transfer;
    graph_.output = last < 0 ? own_[whole_.output] : Received(last);
    graph_.loss = plan_.split_loss ? own_[whole_.output] : graph_.output;
    if (plan_.split_loss) {
      graph_.tensors[graph_.output].gradient = false;
      if (gates_[last] >= 0) graph_.tensors[gates_[last]].gradient = false;
    }
    Relink(&graph_);
    return std::move(graph_);
  }

 private:
  TensorId AddTensor(const TensorInfo& whole, int64_t channels) {
    TensorInfo t;
    t.shape = WithChannels(whole.shape, channels);
    t.dtype = whole.dtype;
    t.gradient = whole.gradient;
    graph_.tensors.push_back(std::move(t));
    return static_cast<TensorId>(graph_.tensors.size()) - 1;
  }

  void AddTransferOp(const std::string& name, std::unique_ptr<Layer> layer,
                     std::vector<TensorId> inputs, TensorId output) {
    layer->Infer({});
    OpNode op;
    op.name = name;
    op.layer = std::move(layer);
    op.inputs = std::move(inputs);
    op.output = output;
    graph_.ops.push_back(std::move(op));
  }

  bool TakesPart(const Transfer& t) const {
    return !t.from.held[worker_].empty() || !t.to.held[worker_].empty();
  }

  // The sending ends of all transfers of the tensor.
  void Send(TensorId tensor) {
    for (size_t i = 0; i < plan_.transfers.size(); ++i) {
      const Transfer& t = plan_.transfers[i];
      if (t.tensor != tensor || !TakesPart(t)) continue;
      const TensorInfo& info = whole_.tensors[tensor];
      gates_[i] = AddTensor(info, t.width(worker_));
      graph_.tensors.back().stored = false;
      std::vector<TensorId> inputs;
      if (own_[tensor] >= 0) inputs.push_back(own_[tensor]);
      AddTransferOp(t.name + ".send", MakeSendLayer(t, info, worker_, transfers_), inputs,
                    gates_[i]);
    }
  }

  // What the transfer brings here; its receiving end is added when it is asked for first.
  TensorId Received(int index) {
    const Transfer& t = plan_.transfers[index];
    if (received_[index] >= 0 || !TakesPart(t)) return received_[index];
    const TensorInfo& info = whole_.tensors[t.tensor];
    received_[index] = AddTensor(info, t.width(worker_));
    std::vector<TensorId> inputs{gates_[index]};
    if (own_[t.tensor] >= 0 && !t.to.beside) inputs.push_back(own_[t.tensor]);
    AddTransferOp(t.name + ".receive", MakeReceiveLayer(t, info, worker_, transfers_), inputs,
                  received_[index]);
    return received_[index];
  }

  void AddOp(int index) {
    OpNode& node = whole_.ops[index];
    const OpSplit& split = plan_.ops[index];
    std::vector<TensorId> inputs;
    std::vector<Shape> shapes;
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      const int transfer = split.transfers[k];
      const bool own = transfer < 0 || plan_.transfers[transfer].to.beside;
      if (own) inputs.push_back(own_[node.inputs[k]]);
      if (transfer >= 0) inputs.push_back(Received(transfer));
    }
    for (TensorId x : inputs) {
      if (x >= 0) shapes.push_back(graph_.tensors[x].shape);
    }
    const ChannelRange out = plan_.tensors[node.output].held[worker_];
    if (out.empty()) return;

    LayerPart part;
    part.in = split.in[worker_];
    part.out = out;
    part.whole_in = ChannelsOf(whole_.tensors[node.inputs[0]].shape);
    part.whole_out = ChannelsOf(whole_.tensors[node.output].shape);
    CHECK_EQ(shapes.size(), inputs.size()) << node.name;
    own_[node.output] = AddTensor(whole_.tensors[node.output], out.size());
    if (part.in.size() < part.whole_in || out.size() < part.whole_out) {
      node.layer->Keep(part);
      const Shape shape = node.layer->Infer(shapes);
      CHECK(shape == graph_.tensors.back().shape) << node.name << ": " << shape.ToString();
    }
    OpNode op;
    op.name = node.name;
    op.layer = std::move(node.layer);
    op.inputs = std::move(inputs);
    op.output = own_[node.output];
    op.counts = split.kind == SplitKind::kRows || FirstOf(plan_.tensors[node.output]);
    graph_.ops.push_back(std::move(op));
  }

  // Of workers that do the same, the first.
  bool FirstOf(const Distribution& d) const {
    const auto same = [&](const ChannelRange& c) { return c == d.held[worker_]; };
    return std::find_if(d.held.begin(), d.held.end(), same) - d.held.begin() == worker_;
  }

  const SplitPlan& plan_;
  const int worker_;
  Transfers* const transfers_;
  Graph whole_, graph_;
  std::vector<TensorId> own_;               // by tensor of the whole graph; -1: not here
  std::vector<TensorId> gates_, received_;  // by transfer
};

}  // namespace

Graph SplitGraph(const SplitPlan& plan, int worker, Transfers* transfers, Graph whole) {
  return WorkerGraph(plan, worker, transfers, std::move(whole)).Make();
}

}  // namespace mariana
