#include "common/optim/optimizer.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "common/base/error.h"

namespace mariana {

void ParamGroupSpec::Describe(Fields* f) {
  f->Text("match", &match,
          "Names of parameters (those of checkpoints), `*` for any letters: \"*.bias\".",
          Rule().Required());
  f->Real("decay", &factors.decay, "Factor on their l1, l2 and weight_decay; 0: none.",
          Rule().Min(0));
  f->Real("learning_rate", &factors.learning_rate, "Factor on their learning rate; 0: they stay.",
          Rule().Min(0));
}

void OptimizerSpec::Describe(Fields* f) {
  f->Choice("type", &type,
            {{"sgd", OptimizerType::kSgd},
             {"adagrad", OptimizerType::kAdaGrad},
             {"adam", OptimizerType::kAdam},
             {"adamw", OptimizerType::kAdamW}},
            "Stochastic gradient descent, AdaGrad (Duchi 2011), Adam (Kingma and Ba 2015), AdamW "
            "(Loshchilov and Hutter 2019).");
  f->Real("momentum", &momentum, "sgd: share of the last step that is taken again.",
          Rule().Min(0).Below(1));
  f->Bool("nesterov", &nesterov, "sgd: Nesterov's momentum.");
  f->Real("beta1", &beta1, "adam, adamw: decay of the gradient's average.", Rule().Min(0).Below(1));
  f->Real("beta2", &beta2, "adam, adamw: decay of the squared gradient's average.",
          Rule().Min(0).Below(1));
  f->Real("epsilon", &epsilon, "adagrad, adam, adamw: added to the root of squares.",
          Rule().Above(0));
  f->Real("l1", &l1, "Adds l1 * sign(w) to the gradient of weights.", Rule().Min(0));
  f->Real("l2", &l2, "Adds l2 * w to the gradient of weights.", Rule().Min(0));
  f->Real("weight_decay", &weight_decay, "adamw: weights shrink by learning rate * this.",
          Rule().Min(0));
  f->Real("clip_norm", &clip_norm, "Scales gradients whose global norm is above this; 0: never.",
          Rule().Min(0));
  f->List("groups", &groups,
          "Parameters that learn otherwise; the first that matches counts. Those of no group: "
          "penalties and decay on weights, none on biases and batch norm.");
  f->Require(!nesterov || (type == OptimizerType::kSgd && momentum > 0), "nesterov",
             "needs type: sgd and a momentum above 0");
  f->Require(weight_decay == 0 || type == OptimizerType::kAdamW, "weight_decay",
             "needs type: adamw (l2 is the penalty of the others)");
}

std::vector<std::string> OptimizerSlotNames(const OptimizerSpec& spec) {
  switch (spec.type) {
    case OptimizerType::kSgd:
      if (spec.momentum == 0) return {};
      return {"momentum"};
    case OptimizerType::kAdaGrad: return {"sum"};
    case OptimizerType::kAdam:
    case OptimizerType::kAdamW: return {"m", "v"};
  }
  return {};
}

int OptimizerSlots(const OptimizerSpec& spec) {
  return static_cast<int>(OptimizerSlotNames(spec).size());
}

Factors FactorsOf(const OptimizerSpec& spec, const std::string& name, bool decays) {
  for (const ParamGroupSpec& group : spec.groups) {
    if (::fnmatch(group.match.c_str(), name.c_str(), 0) == 0) return group.factors;
  }
  Factors factors;
  if (!decays) factors.decay = 0;
  return factors;
}

void CheckGroups(const OptimizerSpec& spec, const std::vector<std::string>& names) {
  for (const ParamGroupSpec& group : spec.groups) {
    const bool any = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return ::fnmatch(group.match.c_str(), name.c_str(), 0) == 0;
    });
    if (any) continue;
    throw Fail(ExitCode::kUsage, "optimizer.groups: \"", group.match,
               "\" matches no parameter; the net's are ", names.front(), " to ", names.back(),
               " (--check lists its layers)");
  }
}

OptimizerStep MakeAverageStep(double decay, int64_t t) {
  // average -= (1 - decay) * (average - value): SGD on half the squared distance.
  const double n = static_cast<double>(t);
  OptimizerStep step;
  step.kind = OptimizerKind::kSgd;
  step.learning_rate = static_cast<float>(1 - std::min(decay, (1 + n) / (10 + n)));
  step.gradient_scale = -1;
  step.l2 = 1;
  return step;
}

OptimizerStep MakeOptimizerStep(const OptimizerSpec& spec, double learning_rate, int64_t t,
                                double gradient_scale, const Factors& factors) {
  OptimizerStep step;
  step.learning_rate = static_cast<float>(learning_rate * factors.learning_rate);
  step.gradient_scale = static_cast<float>(gradient_scale);
  step.l1 = static_cast<float>(spec.l1 * factors.decay);
  step.l2 = static_cast<float>(spec.l2 * factors.decay);
  switch (spec.type) {
    case OptimizerType::kSgd:
      step.kind = OptimizerKind::kSgd;
      step.momentum = static_cast<float>(spec.momentum);
      step.nesterov = spec.nesterov;
      break;
    case OptimizerType::kAdaGrad:
      step.kind = OptimizerKind::kAdaGrad;
      step.epsilon = static_cast<float>(spec.epsilon);
      break;
    case OptimizerType::kAdam:
    case OptimizerType::kAdamW:
      step.kind = OptimizerKind::kAdam;
      step.beta1 = spec.beta1;
      step.beta2 = spec.beta2;
      step.bias1 = static_cast<float>(1 - std::pow(spec.beta1, t));
      step.bias2 = static_cast<float>(1 - std::pow(spec.beta2, t));
      step.epsilon = static_cast<float>(spec.epsilon);
      if (spec.type == OptimizerType::kAdamW) {
        step.weight_decay = static_cast<float>(spec.weight_decay * factors.decay);
      }
      break;
  }
  return step;
}

}  // namespace mariana
