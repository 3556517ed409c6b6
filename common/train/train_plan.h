// What --check prints of a job: the net's layers, and what exchanging its parameters costs. To
// stdout. Free functions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/comm/exchange.h"
#include "common/nn/net.h"
#include "common/optim/optimizer.h"
#include "common/train/parallel.h"
#include "common/train/ranks.h"

namespace mariana {

// This rank's devices, and how many ranks have as many.
void PrintDevices(const std::vector<std::unique_ptr<Device>>& devices, const Ranks& ranks);

void PrintLayers(const NetPlan& net, int workers);

// `why`: see ChooseTopology.
void PrintExchange(const NetPlan& net, const Wiring& wiring, const std::string& why,
                   const ParallelSpec& parallel, World* world, const OptimizerSpec& optimizer);

}  // namespace mariana
