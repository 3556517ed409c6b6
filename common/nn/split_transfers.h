// How ways to hold a tensor relate, and the messages of the transfers between them; the parts of
// PlanSplit that know no layers. Pure functions.
#pragma once

#include <vector>

#include "common/nn/split_plan.h"

namespace mariana {

// Channels [0, n) cut for so many workers, at borders of groups; some may have none. Cuts are at
// multiples of 16 or 8 where that leaves no worker without, as vectors of channels are.
std::vector<ChannelRange> CutChannels(int64_t n, int64_t groups, int workers);

bool Disjoint(const std::vector<ChannelRange>& held);
// Whether several workers hold parts of [0, n), each channel once.
bool IsCut(const Distribution& d, int64_t n);
// Whether an operation that needs `need` can read what is held as `from`. `gradient`: it also
// makes a gradient.
bool IsSame(const Distribution& from, const Distribution& need, bool gradient);
// "gather", "reduce_scatter" ...
const char* KindOf(const Transfer& transfer);

// Adds the transfer to the plan with its messages: of gradients, too, with `gradient`.
void RouteTransfer(const TensorInfo& tensor, bool gradient, Transfer transfer, SplitPlan* plan);
// The messages of a softmax whose classes are split so.
void RouteLoss(const Distribution& classes, SplitPlan* plan);

}  // namespace mariana
