// The two operations that a transfer is on one worker. `send` stands right behind what makes the
// tensor, `receive` right before what reads it first, so that rows are on their way while what lies
// between computes; in the backward pass they change parts. Between them is a tensor without a
// value (`gate`): its gradient is that of what was received, kept until the peers have taken it.
//
//   x -> send -> gate -> receive (gate, x) -> y
//
// A worker that holds nothing of x sends without an input, one that needs nothing of y has both of
// no channels. Threading: as Layer.
#pragma once

#include <memory>
#include <vector>

#include "common/nn/split_plan.h"

namespace mariana {

// `tensor`: the whole one. `transfers` may be null until Forward.
std::unique_ptr<Layer> MakeSendLayer(const Transfer& transfer, const TensorInfo& tensor, int worker,
                                     Transfers* transfers);
std::unique_ptr<Layer> MakeReceiveLayer(const Transfer& transfer, const TensorInfo& tensor,
                                        int worker, Transfers* transfers);

// What a worker does with its messages, in order.
struct TransferEvent {
  enum What { kOffer, kReceive, kAwaitTaken } what;
  int message;
};
// Of a step in training: a worker's graph forward, the loss, and back.
std::vector<TransferEvent> EventsOf(const SplitPlan& plan, int worker, const Graph& graph);

}  // namespace mariana
