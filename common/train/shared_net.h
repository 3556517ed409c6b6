// SharedNet: a net that several devices of a process compute together (nn/split_plan.h), and that
// looks like one net on the first of them: the same parameters, arenas and calls. For trainers that
// keep parameters in places of their own, as mariana_cluster does; DataParallel works on the parts.
//
// Each device has a part, on a thread of its own but for the first, which is the caller's. The
// arenas are the whole net's: values that were changed there reach the parts with the next Forward,
// gradients come back with each Backward.
//
// Threading: one thread, like Net. The first exception of a part ends the call, and every later
// one.
#pragma once

#include <memory>
#include <vector>

#include "common/nn/net.h"
#include "common/nn/split_plan.h"

namespace mariana {

// `options` as for Net::Build: of the whole net on the first device. `others`: split.workers - 1
// more, all in memory that the host reads. Throws as Net::Build and PlanSplit, and Error(kUsage)
// for a net with batch normalisation.
std::unique_ptr<Net> MakeSharedNet(const NetSpec& spec, const NetOptions& options,
                                   const SplitSpec& split,
                                   std::vector<std::unique_ptr<Device>> others);

}  // namespace mariana
