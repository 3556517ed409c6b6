#include "mariana_cluster/dense_step.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace mariana {

DenseStep::DenseStep(DenseParameters* shared, const NetPlan& plan, const OptimizerSpec& optimizer,
                     Device* device)
    : shared_(shared), optimizer_(optimizer), device_(device) {
  CHECK_EQ(plan.arena_elements, shared->elements());
  std::vector<std::string> names;
  for (const ParamInfo& p : plan.params) names.push_back(p.name);
  CheckGroups(optimizer, names);
  segments_.resize(static_cast<size_t>(shared->slices()));
  for (const ParamInfo& p : plan.params) {
    const Factors factors = FactorsOf(optimizer, p.name, p.decay);
    for (int64_t begin = p.offset; begin < p.offset + p.elements;) {
      const int64_t slice = begin / DenseParameters::kSliceElements;
      const int64_t end = std::min(p.offset + p.elements, shared->SliceRange(slice).end);
      auto& list = segments_[static_cast<size_t>(slice)];
      if (!list.empty() && list.back().factors == factors && list.back().range.end == begin) {
        list.back().range.end = end;
      } else {
        list.push_back({{begin, end}, factors});
      }
      begin = end;
    }
  }
}

// `gradients` and `shadow` (or null): of the slice's first element on.
void DenseStep::Step(const Rate& rate, int64_t slice, const float* gradients, uint16_t* shadow) {
  const int64_t first = shared_->SliceRange(slice).begin;
  float* state[2] = {shared_->slots() > 0 ? shared_->slot(0) : nullptr,
                     shared_->slots() > 1 ? shared_->slot(1) : nullptr};
  for (const Segment& s : segments_[static_cast<size_t>(slice)]) {
    const int64_t i = s.range.begin;
    device_->Update(
        MakeOptimizerStep(optimizer_, rate.learning_rate, rate.t, rate.scale, s.factors),
        gradients + (i - first), shared_->values() + i,
        shadow == nullptr ? nullptr : shadow + (i - first),
        state[0] == nullptr ? nullptr : state[0] + i, state[1] == nullptr ? nullptr : state[1] + i,
        s.range.size());
  }
}

void DenseStep::Update(const Rate& rate, int64_t first, Net* net) {
  const int64_t slices = shared_->slices();
  for (int64_t k = 0; k < slices; ++k) {
    const int64_t slice = (first + k) % slices;
    const DenseRange r = shared_->SliceRange(slice);
    shared_->Lock(slice);
    Step(rate, slice, net->grads() + r.begin,
         net->values16() == nullptr ? nullptr : net->values16() + r.begin);
    std::copy_n(shared_->values() + r.begin, r.size(), net->values() + r.begin);
    shared_->Unlock(slice);
  }
}

void DenseStep::UpdateSlice(const Rate& rate, int64_t slice, const float* gradients) {
  Step(rate, slice, gradients, nullptr);
}

void DenseStep::Pull(Net* net) {
  for (int64_t slice = 0; slice < shared_->slices(); ++slice) {
    const DenseRange r = shared_->SliceRange(slice);
    shared_->Lock(slice);
    std::copy_n(shared_->values() + r.begin, r.size(), net->values() + r.begin);
    shared_->Unlock(slice);
  }
  net->RefreshShadow(0, shared_->elements());
}

double GradientScale(Net* net, double mean, double clip_norm) {
  if (clip_norm <= 0) return mean;
  const double norm =
      mean * std::sqrt(net->options().device->SumOfSquares(net->grads(), net->arena_elements()));
  return norm > clip_norm ? mean * clip_norm / norm : mean;
}

}  // namespace mariana
