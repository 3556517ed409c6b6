// DenseStep: the optimizer's steps on the dense parameters that processes share
// (dense_parameters.h). Belongs to one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "common/nn/net.h"
#include "common/optim/optimizer.h"
#include "mariana_cluster/dense_parameters.h"

namespace mariana {

// The optimizer's steps on shared parameters. `plan` names the parameters (PlanNet or Net::plan).
class DenseStep {
 public:
  // Throws Error(kUsage) as CheckGroups.
  DenseStep(DenseParameters* shared, const NetPlan& plan, const OptimizerSpec& optimizer,
            Device* device);

  struct Rate {
    double learning_rate = 0;
    int64_t t = 1;     // of the step, from 1
    double scale = 1;  // of the gradients
  };
  // With the net's gradients, all slices from `first` on around; the net leaves with the new
  // values.
  void Update(const Rate& rate, int64_t first, Net* net);
  // One slice, with its gradients alone; no other net is told.
  void UpdateSlice(const Rate& rate, int64_t slice, const float* gradients);
  // Copies all values into the net.
  void Pull(Net* net);

 private:
  struct Segment {
    DenseRange range;
    Factors factors;
  };
  void Step(const Rate& rate, int64_t slice, const float* gradients, uint16_t* shadow);

  DenseParameters* shared_;
  OptimizerSpec optimizer_;
  Device* device_;
  std::vector<std::vector<Segment>> segments_;  // of each slice
};

// What a step multiplies the net's gradients by: `mean` makes their mean of them, and where the
// norm of that is above clip_norm (0: none) it is brought down to it.
double GradientScale(Net* net, double mean, double clip_norm);

}  // namespace mariana
