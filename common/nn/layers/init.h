// How a layer's weights are drawn: the `init:` and `std:` keys that linear and conv share. A value.
#pragma once

#include <cstdint>

#include "common/config/fields.h"
#include "common/nn/layer.h"

namespace mariana {

// Glorot and Bengio 2010; He et al. 2015, by the inputs or (fan out) the outputs of a weight;
// kUniform is +-1/sqrt(inputs), PyTorch's default.
enum class WeightInit {
  kGlorotUniform,
  kGlorotNormal,
  kHeUniform,
  kHeNormal,
  kHeNormalFanOut,
  kNormal,
  kUniform
};

struct InitOptions {
  WeightInit rule = WeightInit::kGlorotUniform;
  double std = 0.01;  // kNormal

  void Describe(Fields* f);  // the two keys, within the layer's section
  // `in`, `out`: weights that go into an output, and that an input goes into.
  Init ForFans(int64_t in, int64_t out) const;
};

}  // namespace mariana
