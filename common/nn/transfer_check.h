// What a plan's transfers move, for people; and the proof that no worker waits for ever. Pure
// functions.
#pragma once

#include <string>
#include <vector>

#include "common/nn/split_plan.h"
#include "common/nn/transfer_layers.h"

namespace mariana {

// A transfer in both directions: "conv1.gather", "all -> all", bytes of one sample.
struct TransferLine {
  std::string name;
  std::string from, to;  // "worker 1", "workers 0, 1"
  int64_t forward_bytes = 0, backward_bytes = 0;
};
// In the order in which they run forward; the last line is the loss's, if it has messages.
std::vector<TransferLine> DescribeTransfers(const SplitPlan& plan);

// Runs the workers' lists of one step side by side: each goes on until it waits for a message that
// is not there. Throws Error(kInternal), naming workers and messages, when all wait (a deadlock) or
// when something that was sent is never taken.
void CheckTransfers(const SplitPlan& plan, const std::vector<std::vector<TransferEvent>>& workers);
// The same of the net that is planned so.
void CheckTransfers(const NetSpec& spec, const NetOptions& options, const SplitPlan& plan);

}  // namespace mariana
