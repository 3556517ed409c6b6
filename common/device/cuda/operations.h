// The operations that a CUDA device makes. They belong to its context, which outlives them.
#pragma once

#include <memory>

#include "common/device/cuda/context.h"
#include "common/device/device.h"

namespace mariana::cuda {

std::unique_ptr<AffineOp> MakeLinearOp(const LinearSpec& spec, Context* context);
std::unique_ptr<AffineOp> MakeConvolutionOp(const ConvSpec& spec, Context* context);
std::unique_ptr<SplitSoftmaxOp> MakeSplitSoftmaxOp(const SplitSoftmaxSpec& spec, Context* context);
std::unique_ptr<PoolOp> MakePoolOp(const PoolSpec& spec, Context* context);
// Pieces of a step, recorded as CUDA graphs.
std::unique_ptr<Pieces> MakeGraphs(Context* context);

}  // namespace mariana::cuda
