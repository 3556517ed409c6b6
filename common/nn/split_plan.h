// SplitPlan: how several workers share one model. Made once from the whole net's graph, it says
// which channels of every tensor each worker holds, what part of every operation it does, and which
// rows move between whom (Transfers). Each worker then makes its own graph of it (SplitGraph).
//
// A tensor is held in one of a few ways, by the channels of an image or the columns of a matrix:
//   whole     on every worker, or on one ("placed");
//   split     each worker has some of the channels;
//   sums      every worker has a part of a sum: what layers split by rows make.
// Between an operation that leaves a tensor in one way and one that needs it in another stands a
// transfer. Its backward pass is the transpose of its forward pass: a gather of channels scatters
// and sums gradients where each worker has a part of their sum, and takes a slice where all have
// the same. Sums are in worker order, so that what several workers hold is the same bits.
//
// Plain values. Free functions, thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/nn/graph.h"

namespace mariana {

enum class SplitKind { kAuto, kNone, kOutputs, kRows };

// What a job says about one layer or block.
struct SplitChoice {
  std::string layer;  // its name, or that of a block around it
  SplitKind kind = SplitKind::kAuto;
  int64_t place = -1;  // the worker that does it; -1: not placed
  void Describe(Fields* f);
};

struct SplitSpec {
  int workers = 1;
  std::vector<SplitChoice> layers;  // later ones override earlier ones
};

struct Distribution {
  std::vector<ChannelRange> held;  // by worker
  bool sum_value = false;          // the value is the sum over workers
  bool sum_gradient = false;       // its gradient is, where several hold the same channels
  // Of what an operation needs: it reads what its worker has where that is, and gets the rest, some
  // channels on either side, as a tensor of its own.
  bool beside = false;
  bool operator==(const Distribution& o) const {
    return held == o.held && sum_value == o.sum_value && sum_gradient == o.sum_gradient &&
           beside == o.beside;
  }
};

// Rows from one worker to another, once in each forward or backward pass; Transfers' messages are
// numbered by SplitPlan::messages.
struct TransferMessage {
  int transfer = 0;  // index into SplitPlan::transfers; -1: the loss
  bool backward = false;
  int from = 0, to = 0;
  ChannelRange channels;  // of the whole tensor
  int64_t bytes = 0;      // of one sample
  int64_t cols = 0;       // of a row as it travels: a pixel's channels
  Dtype dtype = Dtype::kF32;
};

// Channels that a worker sends, or puts into what it has, in this order.
struct TransferPiece {
  int message = -1;  // -1: its own
  ChannelRange channels;
  bool add = false;  // to those that an earlier piece put there
};

struct Transfer {
  TensorId tensor = 0;  // of the whole graph
  std::string name;     // "conv1.gather"
  Distribution from, to;
  bool evaluation = false;  // runs in evaluation only
  // By worker: what it sends, and what becomes of its channels; forward, backward.
  struct Pass {
    std::vector<std::vector<TransferPiece>> out, in;
  };
  Pass forward, backward;

  // What a worker has of `to` that it does not get: its own channels, where the rest stands beside
  // them.
  ChannelRange gap(int worker) const {
    return to.beside ? from.held[static_cast<size_t>(worker)] : ChannelRange{};
  }
  // Channels of the tensor that it gets.
  int64_t width(int worker) const {
    return to.held[static_cast<size_t>(worker)].size() - gap(worker).size();
  }
};

struct OpSplit {
  SplitKind kind = SplitKind::kAuto;  // not kAuto in a plan
  int place = -1;
  bool follows = false;          // goes along with its input, if that is split
  std::vector<int> transfers;    // by input; -1: it reads what is there
  std::vector<ChannelRange> in;  // by worker, of the first input
};

struct SplitPlan {
  int workers = 1;
  std::vector<OpSplit> ops;           // of the whole graph
  std::vector<Distribution> tensors;  // as their producers leave them
  std::vector<Transfer> transfers;
  std::vector<TransferMessage> messages;
  int output_transfer = -1;           // that brings the output to every worker; -1: it is there
  bool split_loss = false;            // softmax over split classes: every worker has its own
  std::vector<ChannelRange> classes;  // with split_loss: by worker
  std::vector<std::vector<int>> loss_messages;  // with split_loss: [from][to]; -1: none
  std::map<std::string, int> parameters;        // the whole model's, by name: index
  bool batch_stats = false;                     // whether any worker has batch normalisation

  bool holds(int worker, TensorId t) const { return !tensors[t].held[worker].empty(); }
};

// Plans `whole`, a compiled and set up graph; leaves it as its workers' graphs start from (rows
// split: activations on their own). Throws Error(kUsage) naming the layer where a choice cannot be.
SplitPlan PlanSplit(const SplitSpec& spec, LossKind loss, Graph* whole);

// Plans the net that PlanNet plans with these options.
std::shared_ptr<const SplitPlan> PlanSplitNet(const NetSpec& spec, const NetOptions& options,
                                              const SplitSpec& split);

// Worker `worker`'s part of `whole`, a graph compiled like the planned one but not set up. The plan
// outlives it.
Graph SplitGraph(const SplitPlan& plan, int worker, Transfers* transfers, Graph whole);

const char* Name(SplitKind kind);  // as a job says it

}  // namespace mariana
