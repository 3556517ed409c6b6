#include "common/nn/layers/init.h"

#include <cmath>

namespace mariana {

void InitOptions::Describe(Fields* f) {
  f->Choice("init", &rule,
            {{"glorot_uniform", WeightInit::kGlorotUniform},
             {"glorot_normal", WeightInit::kGlorotNormal},
             {"he_uniform", WeightInit::kHeUniform},
             {"he_normal", WeightInit::kHeNormal},
             {"he_normal_fan_out", WeightInit::kHeNormalFanOut},
             {"normal", WeightInit::kNormal},
             {"uniform", WeightInit::kUniform}},
            "How the weights are drawn; uniform: within 1/sqrt(inputs) of zero.");
  f->Real("std", &std, "Standard deviation of init: normal.", Rule().Above(0));
}

Init InitOptions::ForFans(int64_t fan_in, int64_t fan_out) const {
  const auto in = static_cast<double>(fan_in), out = static_cast<double>(fan_out);
  const auto uniform = [](double bound) { return Init{Init::kUniform, static_cast<float>(bound)}; };
  const auto normal = [](double std) { return Init{Init::kNormal, static_cast<float>(std)}; };
  switch (rule) {
    case WeightInit::kGlorotUniform: return uniform(std::sqrt(6 / (in + out)));
    case WeightInit::kGlorotNormal: return normal(std::sqrt(2 / (in + out)));
    case WeightInit::kHeUniform: return uniform(std::sqrt(6 / in));
    case WeightInit::kHeNormal: return normal(std::sqrt(2 / in));
    case WeightInit::kHeNormalFanOut: return normal(std::sqrt(2 / out));
    case WeightInit::kNormal: return normal(std);
    case WeightInit::kUniform: return uniform(1 / std::sqrt(in));
  }
  return {};
}

}  // namespace mariana
