// Optimizers and learning-rate schedules: specs and the pure functions over them. The fused
// arithmetic is Device::Update; this says which step to take. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/device/device.h"

namespace mariana {

enum class OptimizerType { kSgd, kAdaGrad, kAdam, kAdamW };

// What the penalties and the learning rate are multiplied by, for one parameter.
struct Factors {
  double decay = 1;  // l1, l2 and weight_decay
  double learning_rate = 1;
  bool operator==(const Factors& o) const {
    return decay == o.decay && learning_rate == o.learning_rate;
  }
};

// Parameters that learn otherwise than the rest.
struct ParamGroupSpec {
  std::string match;  // a glob (fnmatch) over names
  Factors factors;
  void Describe(Fields* f);
};

// The `train.optimizer:` section.
struct OptimizerSpec {
  OptimizerType type = OptimizerType::kSgd;
  double momentum = 0.9;
  bool nesterov = false;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double l1 = 0, l2 = 0;
  double weight_decay = 0;  // decoupled, AdamW only
  double clip_norm = 0;     // 0: no clipping by global gradient norm
  std::vector<ParamGroupSpec> groups;
  void Describe(Fields* f);
};

// How many fp32 state elements an arena element needs: 0, 1 or 2.
int OptimizerSlots(const OptimizerSpec& spec);
// Names of the slots in optimizer.safetensors: "momentum"; "sum"; "m", "v".
std::vector<std::string> OptimizerSlotNames(const OptimizerSpec& spec);
// The factors of a parameter: of the first group that it matches; else 1, and no decay unless the
// parameter is one of those that decay (weights are, biases and batch norm are not).
Factors FactorsOf(const OptimizerSpec& spec, const std::string& name, bool decays);
// Throws Error(kUsage) naming the first group that matches none of these names.
void CheckGroups(const OptimizerSpec& spec, const std::vector<std::string>& names);
// The step number `t` (from 1) at a learning rate, for parameters of these factors.
OptimizerStep MakeOptimizerStep(const OptimizerSpec& spec, double learning_rate, int64_t t,
                                double gradient_scale, const Factors& factors);
// The step that moves averages of values: `w` the averages, `g` the values, no state. The share of
// the old average is `decay`, but less in the first steps, (1 + t) / (10 + t), so that the start is
// forgotten (as TensorFlow's ExponentialMovingAverage with num_updates).
OptimizerStep MakeAverageStep(double decay, int64_t t);

enum class ScheduleType { kConstant, kStep, kExponential, kCosine, kNewbob };

// The `train.schedule:` section. The horizon is set apart from the number of epochs, so that a
// longer run keeps its schedule.
struct ScheduleSpec {
  ScheduleType type = ScheduleType::kConstant;
  double learning_rate = 0.01;      // at the start (after warm-up)
  double final_learning_rate = 0;   // exponential, cosine: at the horizon and after
  double horizon_epochs = 0;        // exponential, cosine; 0: train.epochs of the first run
  std::vector<double> step_epochs;  // step: multiply by step_factor at each of these epochs
  double step_factor = 0.1;
  int64_t warmup_steps = 0;    // linear from 0
  double warmup_epochs = 0;    // likewise; one of the two
  double newbob_factor = 0.5;  // newbob: multiply by this ...
  double newbob_halve_gain =
      0.01;  // ... once an epoch's relative gain in held-out loss is below this
  double newbob_stop_gain = 0.001;  // ... and stop when it is below this while already halving
  void Describe(Fields* f);
};

// The learning rate of step `step` (from 0) for schedules that depend on the step alone; newbob's
// factor comes from NewbobState. epoch_steps: steps in an epoch.
double LearningRate(const ScheduleSpec& spec, int64_t step, int64_t epoch_steps);

// Newbob (Kaldi nnet1): after each epoch Observe(held-out loss) tells what to do next. A worse
// epoch is rejected: the trainer rolls back to the best checkpoint. State is saved in
// checkpoints.
struct NewbobState {
  double factor = 1;     // multiplies the learning rate
  double best_loss = 0;  // of the last accepted epoch
  bool started = false;  // best_loss is set
  bool halving = false;
  enum class Verdict { kAccept, kReject, kStop, kRejectAndStop };
  Verdict Observe(const ScheduleSpec& spec, double loss);
};

}  // namespace mariana
