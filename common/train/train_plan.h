// What --check prints of a job: the net's layers, and what exchanging its parameters costs. To
// stdout. Free functions.
#pragma once

#include <string>

#include "common/comm/exchange.h"
#include "common/nn/net.h"
#include "common/optim/optimizer.h"

namespace mariana {

void PrintLayers(const NetPlan& net, int workers);

// `n` workers; `why`: see ChooseTopology.
void PrintExchange(const NetPlan& net, Topology topology, const std::string& why, int n,
                   const OptimizerSpec& optimizer);

}  // namespace mariana
