#include <algorithm>
#include <cmath>

#include "common/optim/optimizer.h"

namespace mariana {

void ScheduleSpec::Describe(Fields* f) {
  f->Choice("type", &type,
            {{"constant", ScheduleType::kConstant},
             {"step", ScheduleType::kStep},
             {"exponential", ScheduleType::kExponential},
             {"cosine", ScheduleType::kCosine},
             {"newbob", ScheduleType::kNewbob}},
            "How the learning rate changes; newbob follows the held-out loss.");
  f->Real("learning_rate", &learning_rate, "At the start, after warm-up.", Rule().Above(0));
  f->Real("final_learning_rate", &final_learning_rate,
          "exponential, cosine: at the horizon and after.", Rule().Min(0));
  f->Real("horizon_epochs", &horizon_epochs,
          "exponential, cosine: where the final rate is reached; 0: train.epochs of the first run.",
          Rule().Min(0));
  f->RealList("step_epochs", &step_epochs, "step: epochs after which the rate changes.",
              Rule().Min(0));
  f->Real("step_factor", &step_factor, "step: what the rate is multiplied by.", Rule().Above(0));
  f->Int("warmup_steps", &warmup_steps, "Steps over which the rate rises from 0 in a line.",
         Rule().Min(0));
  f->Real("warmup_epochs", &warmup_epochs, "The same in epochs, in place of warmup_steps.",
          Rule().Min(0));
  f->Require(warmup_steps == 0 || warmup_epochs == 0, "warmup_epochs",
             "and `warmup_steps` exclude each other");
  f->Real("newbob_factor", &newbob_factor, "newbob: what the rate is multiplied by ...",
          Rule().Above(0).Below(1));
  f->Real(
      "newbob_halve_gain", &newbob_halve_gain,
      "... after each epoch from the first whose relative gain in held-out loss is below this.");
  f->Real("newbob_stop_gain", &newbob_stop_gain,
          "newbob: training stops when the gain is below this while the rate is falling.");
  f->Require(type != ScheduleType::kExponential || final_learning_rate > 0, "final_learning_rate",
             "must be above 0 for type: exponential");
  f->Require(type != ScheduleType::kStep || !step_epochs.empty(), "step_epochs",
             "must be given for type: step");
}

double LearningRate(const ScheduleSpec& spec, int64_t step, int64_t epoch_steps) {
  const double warmup = spec.warmup_epochs > 0
                            ? std::round(spec.warmup_epochs * static_cast<double>(epoch_steps))
                            : static_cast<double>(spec.warmup_steps);
  if (static_cast<double>(step) < warmup) {
    return spec.learning_rate * static_cast<double>(step + 1) / warmup;
  }
  // From the end of the warm-up (0) to the horizon (1) and after.
  const double horizon = spec.horizon_epochs * static_cast<double>(epoch_steps);
  const double progress =
      horizon > warmup ? std::min(1.0, (static_cast<double>(step) - warmup) / (horizon - warmup))
                       : 1.0;
  const double first = spec.learning_rate, last = spec.final_learning_rate;
  switch (spec.type) {
    case ScheduleType::kConstant:
    case ScheduleType::kNewbob: return first;
    case ScheduleType::kStep: {
      double rate = first;
      for (double epoch : spec.step_epochs) {
        if (static_cast<double>(step) >= epoch * static_cast<double>(epoch_steps)) {
          rate *= spec.step_factor;
        }
      }
      return rate;
    }
    case ScheduleType::kExponential: return first * std::pow(last / first, progress);
    case ScheduleType::kCosine:
      return last + (first - last) * 0.5 * (1 + std::cos(3.14159265358979323846 * progress));
  }
  return first;
}

NewbobState::Verdict NewbobState::Observe(const ScheduleSpec& spec, double loss) {
  if (!started) {
    started = true;
    best_loss = loss;
    return Verdict::kAccept;
  }
  const bool better = loss < best_loss;  // false for NaN
  const double gain = better ? (best_loss - loss) / std::abs(best_loss) : 0;
  if (better) best_loss = loss;
  if (halving && gain < spec.newbob_stop_gain) {
    return better ? Verdict::kStop : Verdict::kRejectAndStop;
  }
  if (gain < spec.newbob_halve_gain) halving = true;
  if (halving) factor *= spec.newbob_factor;
  return better ? Verdict::kAccept : Verdict::kReject;
}

}  // namespace mariana
